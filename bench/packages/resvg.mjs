/** @resvg/resvg-wasm: renders a tall diagram to a PNG. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { initWasm, Resvg } from '@resvg/resvg-wasm';
import { answer, below, finish } from './made.mjs';

const WIDTH = 4000;
const HEIGHT = 20_000;
const require = createRequire(import.meta.url);
await initWasm(readFileSync(require.resolve('@resvg/resvg-wasm/index_bg.wasm')));
let shapes = '';
for (let y = 0; y < HEIGHT; y += 4) {
  const colour = (0x100000 + below(0xefffff)).toString(16);
  const size = `x="${below(WIDTH)}" width="${20 + below(300)}" height="${20 + below(60)}"`;
  shapes += `<rect y="${y}" ${size} rx="5" fill="#${colour}"/>`;
}
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}">${shapes}</svg>`;
answer(new Resvg(svg).render().asPng());
finish();
