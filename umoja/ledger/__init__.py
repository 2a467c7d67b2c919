"""The ledger: accounts, legs, holds, bundles, and the books they make."""
