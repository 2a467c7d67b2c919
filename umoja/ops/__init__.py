"""Operations: what is seen, what it means, and what people do about it."""
