/** Pages of numbers, as programs keep them in arrays: what a filter before LZ4 is for. Same generator, same page. */
import type { Prng } from '../../src/base/prng.ts';

const PAGE_BYTES = 4096;

export const numericKinds = [
  // 32-bit integers: below 4,096, the same with a sign, below 2^20, one after the other, sorted with gaps
  'int12',
  'int12signed',
  'int20',
  'counting',
  'sorted',
  // float64: whole numbers below 1,000, quarters, prices in cents
  'f64whole',
  'f64quarters',
  'f64prices',
  // float32: whole numbers below 1,000, a random walk, evenly between 0 and 1
  'f32whole',
  'f32walk',
  'f32unit',
  // 64-bit: ids of 41 bits of time, 10 of a machine and 12 of a sequence; nanoseconds; pointers; below 2^32
  'id64',
  'time64',
  'pointer64',
  'low64',
  // 16-bit samples of sound, and pixels whose channels change little
  'sample16',
  'pixels',
] as const;
export type NumericKind = (typeof numericKinds)[number];

type Maker = (prng: Prng, out: Uint8Array) => void;
type NumberAt = (view: DataView, at: number) => void;

/** 0 .. 1 */
const unit = (prng: Prng): number => prng.u32() / 2 ** 32;

/** About normal: mean 0, deviation 1. */
function normal(prng: Prng): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += unit(prng);
  return sum;
}

/** Calls `set` for each element of a page. */
const each =
  (bytes: number, begin: (prng: Prng) => NumberAt): Maker =>
  (prng, out) => {
    const view = new DataView(out.buffer, out.byteOffset, PAGE_BYTES);
    const set = begin(prng);
    for (let at = 0; at < PAGE_BYTES; at += bytes) set(view, at);
  };

const int32 = (next: (prng: Prng) => () => number): Maker =>
  each(4, (prng) => {
    const n = next(prng);
    return (view, at) => view.setInt32(at, n(), true);
  });

const float32 = (next: (prng: Prng) => () => number): Maker =>
  each(4, (prng) => {
    const n = next(prng);
    return (view, at) => view.setFloat32(at, n(), true);
  });

const float64 = (next: (prng: Prng) => () => number): Maker =>
  each(8, (prng) => {
    const n = next(prng);
    return (view, at) => view.setFloat64(at, n(), true);
  });

const int64 = (next: (prng: Prng) => () => bigint): Maker =>
  each(8, (prng) => {
    const n = next(prng);
    return (view, at) => view.setBigUint64(at, BigInt.asUintN(64, n()), true);
  });

/** A number that grows by 1 + below(step) each time. */
const growing = (prng: Prng, step: number): (() => number) => {
  let n = prng.below(2 ** 30);
  return (): number => {
    n += 1 + prng.below(step);
    return n;
  };
};

const makers: Readonly<Record<NumericKind, Maker>> = {
  int12: int32((prng) => () => prng.below(4096)),
  int12signed: int32((prng) => () => prng.below(4096) - 2048),
  int20: int32((prng) => () => prng.below(2 ** 20)),
  counting: int32((prng) => growing(prng, 1)),
  sorted: int32((prng) => growing(prng, 200)),
  f64whole: float64((prng) => () => prng.below(1000)),
  f64quarters: float64((prng) => () => prng.below(4000) / 4),
  f64prices: float64((prng) => () => prng.below(100_000) / 100),
  f32whole: float32((prng) => () => prng.below(1000)),
  f32walk: float32((prng) => {
    let x = unit(prng) * 1000;
    return () => {
      x += normal(prng) * 0.1;
      return x;
    };
  }),
  f32unit: float32((prng) => () => unit(prng)),
  id64: int64((prng) => {
    let ms = 1_700_000_000_000 + prng.u32();
    return () => {
      ms += prng.below(20);
      return (BigInt(ms) << 22n) | BigInt((prng.below(32) << 12) | prng.below(8));
    };
  }),
  time64: int64((prng) => {
    let ns = 1_700_000_000_000_000_000n + BigInt(prng.u32());
    return () => {
      ns += 1_000_000n + BigInt(prng.below(50_000));
      return ns;
    };
  }),
  pointer64: int64((prng) => () => 0x7f3a_1000_0000n + 16n * BigInt(prng.below(2 ** 18))),
  low64: int64((prng) => () => BigInt(prng.u32())),
  sample16: each(2, (prng) => {
    let t = prng.below(1000);
    return (view, at) => view.setInt16(at, 8000 * Math.sin(t++ / 97) + 60 * normal(prng), true);
  }),
  pixels: each(4, (prng) => {
    const channels = [prng.below(256), prng.below(256), prng.below(256)];
    return (view, at) => {
      for (let i = 0; i < 3; i++) {
        channels[i]! += prng.below(5) - 2;
        view.setUint8(at + i, channels[i]!);
      }
      view.setUint8(at + 3, 255);
    };
  }),
};

/** Fills `out`, 4096 bytes. */
export function makeNumericPage(kind: NumericKind, prng: Prng, out: Uint8Array): void {
  makers[kind](prng, out);
}
