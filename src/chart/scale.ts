/** Axes: map values to pixels, and select the values that get a tick. */

export interface Scale {
  /** Pixel of a value; values outside map to the nearest end. */
  at(value: number): number;
  readonly ticks: readonly number[];
}

export interface Span {
  readonly low: number;
  readonly high: number;
}

const STEPS = [1, 2, 2.5, 5, 10];

/** Round steps from at most `low` to at least `high`; about `count` of them. */
function roundTicks({ low, high }: Span, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * STEPS.find((s) => s * power >= rough * 0.999)!;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  // Divides if the step is a fraction: 3 * 0.1 is not 0.3.
  const value = (i: number): number => (step < 1 ? i / Math.round(1 / step) : i * step);
  return Array.from({ length: last - first + 1 }, (_, i) => value(first + i));
}

/** The span of finite values; a span of 1 around a single value, 0 .. 1 if there is none. */
export function spanOf(values: readonly number[]): Span {
  const finite = values.filter(Number.isFinite);
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of finite) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (finite.length === 0) return { low: 0, high: 1 };
  return low === high ? { low, high: low + 1 } : { low, high };
}

const within = (low: number, value: number, high: number): number =>
  Math.min(high, Math.max(low, value));

/** Pixels `from` .. `to`, with about `count` ticks at round values and at both ends; or with `ticks`, over the span. */
export function linearScale(
  span: Span,
  from: number,
  to: number,
  wanted: number | readonly number[],
): Scale {
  const ticks = typeof wanted === 'number' ? roundTicks(span, wanted) : wanted;
  const [low, high] =
    typeof wanted === 'number' ? [ticks[0]!, ticks.at(-1)!] : [span.low, span.high];
  const at = (value: number): number =>
    from + ((within(low, value, high) - low) / (high - low)) * (to - from);
  return { at, ticks };
}

/** Like linearScale, with the same distance for each multiple of `base`; the ticks are powers of `base`. */
export function logScale(span: Span, from: number, to: number, base: number): Scale {
  if (!(span.low > 0)) throw new RangeError(`a logarithmic axis cannot begin at ${span.low}`);
  const exponent = (value: number): number => Math.log2(value) / Math.log2(base);
  const first = Math.floor(exponent(span.low) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(exponent(span.high) - 1e-9));
  const ticks = Array.from({ length: last - first + 1 }, (_, i) =>
    Number((base ** (first + i)).toPrecision(12)),
  );
  const at = (value: number): number =>
    from + ((within(first, exponent(value), last) - first) / (last - first)) * (to - from);
  return { at, ticks };
}
