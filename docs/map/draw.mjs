// Draws umoja/console/static/africa.svg from Natural Earth's borders (public domain), as packed by
// world-atlas 2.0.2 (ISC). Run by hand, and only when the map shall change:
//
//   npm install --no-save world-atlas@2.0.2 d3-geo@3.1.2 topojson-client@3.1.0 topojson-simplify@3.0.3
//   node draw.mjs > ../../umoja/console/static/africa.svg
//
// Each country is a <path> with its ISO 3166 alpha-2 code and the place of its label. The console
// colours those that have a market; it needs nothing of this at run time.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { geoAzimuthalEqualArea, geoPath, geoArea } from "d3-geo";
import { feature } from "topojson-client";
import { presimplify, simplify } from "topojson-simplify";

const WIDTH = 400;
const HEIGHT = 430;
const ALPHA2 = {
  "012": "DZ", "024": "AO", "204": "BJ", "072": "BW", "854": "BF", "108": "BI", "120": "CM", "132": "CV",
  "140": "CF", "148": "TD", "174": "KM", "178": "CG", "180": "CD", "384": "CI", "262": "DJ", "818": "EG",
  "226": "GQ", "232": "ER", "748": "SZ", "231": "ET", "266": "GA", "270": "GM", "288": "GH", "324": "GN",
  "624": "GW", "404": "KE", "426": "LS", "430": "LR", "434": "LY", "450": "MG", "454": "MW", "466": "ML",
  "478": "MR", "480": "MU", "504": "MA", "508": "MZ", "516": "NA", "562": "NE", "566": "NG", "646": "RW",
  "678": "ST", "686": "SN", "690": "SC", "694": "SL", "706": "SO", "710": "ZA", "728": "SS", "729": "SD",
  "834": "TZ", "768": "TG", "788": "TN", "800": "UG", "732": "EH", "894": "ZM", "716": "ZW",
};

const require = createRequire(import.meta.url);
const world = JSON.parse(readFileSync(require.resolve("world-atlas/countries-50m.json")));
const kept = simplify(presimplify(world), 0.02);
// The borders have no code where they are not agreed upon: such land is drawn and never a market.
const land = feature(kept, kept.objects.countries).features
  .map((each) => ({ ...each, code: ALPHA2[each.id] ?? (each.properties.name === "Somaliland" ? "" : null) }))
  .filter((each) => each.code !== null && each.geometry)
  .map((each) => ({ ...each, geometry: withoutSpecks(each) }))
  .sort((a, b) => a.code.localeCompare(b.code));

const projection = geoAzimuthalEqualArea()
  .rotate([-17, -2])
  .fitExtent([[4, 4], [WIDTH - 4, HEIGHT - 4]], {
    type: "FeatureCollection",
    features: land.filter((each) => !["CV", "MU", "SC"].includes(each.code)),
  });
const path = geoPath(projection).digits(1);

console.log(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" fill="#ccd5da" stroke="#fff">`);
console.log("<!-- Made by docs/map/draw.mjs. Borders: Natural Earth, public domain, by way of world-atlas (ISC). -->");
for (const each of land) {
  const largest = pieces(each.geometry).sort((a, b) => geoArea(b) - geoArea(a))[0];
  const [x, y] = geoPath(projection).centroid(largest);
  const d = path(each);
  const isSeen = x >= 0 && x <= WIDTH && y >= 0 && y <= HEIGHT; // islands far out would shrink all others
  if (d && isSeen) console.log(`<path data-code="${each.code}" data-x="${x.toFixed(1)}" data-y="${y.toFixed(1)}" d="${d}"/>`);
}
console.log("</svg>");

function pieces(geometry) {
  return geometry.type === "Polygon"
    ? [geometry]
    : geometry.coordinates.map((coordinates) => ({ type: "Polygon", coordinates }));
}

function withoutSpecks(each) {
  const all = pieces(each.geometry);
  const most = Math.max(...all.map((piece) => geoArea(piece)));
  const large = all.filter((piece) => geoArea(piece) > most / 60 || geoArea(piece) > 4e-5);
  return { type: "MultiPolygon", coordinates: large.map((piece) => piece.coordinates) };
}
