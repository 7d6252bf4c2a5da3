/**
 * The two text formats of metrics that Prometheus reads.
 *
 *                 Prometheus text 0.0.4              OpenMetrics 1.0.0
 *   counter       # TYPE x_total counter             # TYPE x counter
 *                 x_total 1                          x_total 1
 *   unit          -                                  # UNIT x_bytes bytes
 *   last line     -                                  # EOF
 *
 * Sources: Prometheus docs "Exposition formats"; OpenMetrics 1.0.0 (github.com/prometheus/OpenMetrics).
 */

export type MetricsFormat = 'text' | 'openMetrics';
type FamilyType = 'gauge' | 'counter' | 'histogram' | 'summary';

/** A family of metrics, as its comment lines describe it. */
export interface FamilyHead {
  /** Without the suffix `_total` of a counter. */
  readonly name: string;
  readonly type: FamilyType;
  /** Also the suffix of the name; '': a count, or no unit. */
  readonly unit: '' | 'bytes' | 'pages' | 'seconds';
  /** One line. */
  readonly help: string;
}

export const contentTypes: Readonly<Record<MetricsFormat, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openMetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

/** The line that ends a reply. */
export const endLine: Readonly<Record<MetricsFormat, string>> = {
  text: '',
  openMetrics: '# EOF\n',
};

/** The weight of a media type in an Accept header: 0 .. 1, 0 for a malformed one. */
function weightOf(parameters: readonly string[]): number {
  const text = parameters.find((one) => one.startsWith('q='));
  if (text === undefined) return 1;
  const weight = Number(text.slice(2));
  return weight >= 0 && weight <= 1 ? weight : 0;
}

/**
 * The format that a client prefers: OpenMetrics only if the header names it, in version 1.0.0 or without a version, and
 * with at least the weight of plain text. A client that accepts neither gets plain text.
 */
export function chooseFormat(accept: string | undefined): MetricsFormat {
  let openMetrics = 0;
  let text = 0;
  for (const range of (accept ?? '').toLowerCase().split(',')) {
    const [type, ...parameters] = range.split(';').map((part) => part.replace(/\s+/g, ''));
    const weight = weightOf(parameters);
    const version = parameters.find((one) => one.startsWith('version='))?.slice(8);
    if (type === 'text/plain') text = Math.max(text, weight);
    const isOurs = version === undefined || version.replaceAll('"', '') === '1.0.0';
    if (type === 'application/openmetrics-text' && isOurs)
      openMetrics = Math.max(openMetrics, weight);
  }
  return openMetrics > 0 && openMetrics >= text ? 'openMetrics' : 'text';
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '"': '\\"' };
const escaped = (text: string, pattern: RegExp): string =>
  text.replace(pattern, (character) => escapes[character] ?? character);

/** `name="value"`. */
export const label = (name: string, value: string): string =>
  `${name}="${escaped(value, /[\\\n"]/g)}"`;

/** A number in the notation of both formats. */
export function formatNumber(value: number): string {
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : String(value);
}

/** The comment lines of a family. */
export function headLines({ name, type, unit, help }: FamilyHead, format: MetricsFormat): string {
  if (format === 'text') {
    const shown = type === 'counter' ? `${name}_total` : name;
    return `# HELP ${shown} ${escaped(help, /[\\\n]/g)}\n# TYPE ${shown} ${type}\n`;
  }
  const unitLine = unit === '' ? '' : `# UNIT ${name} ${unit}\n`;
  return `# TYPE ${name} ${type}\n${unitLine}# HELP ${name} ${escaped(help, /[\\\n"]/g)}\n`;
}

/** Collects the lines of one family. */
export class Samples {
  readonly #name: string;
  readonly #suffix: string;
  #lines: string[];

  constructor(family: FamilyHead, format: MetricsFormat) {
    this.#name = family.name;
    this.#suffix = family.type === 'counter' ? '_total' : '';
    this.#lines = [headLines(family, format)];
  }

  /** Lines that take() would return. */
  get lineCount(): number {
    return this.#lines.length;
  }

  /** @param labels labels by label(), joined by commas; '' for none */
  add(labels: string, value: number): void {
    this.addPart(this.#suffix, labels, value);
  }

  /** @param suffix `_count` or `_sum` */
  addPart(suffix: string, labels: string, value: number): void {
    const braces = labels === '' ? '' : `{${labels}}`;
    this.#lines.push(`${this.#name}${suffix}${braces} ${formatNumber(value)}\n`);
  }

  /**
   * Adds a histogram.
   * @param bounds labels `le` by label(), the last one for +Inf
   * @param counts number of values up to each bound but +Inf
   */
  addHistogram(
    labels: string,
    bounds: readonly string[],
    counts: Float64Array,
    { sum, count }: { readonly sum: number; readonly count: number },
  ): void {
    const start = `${this.#name}_bucket{${labels},`;
    for (let i = 0; i < bounds.length; i++)
      this.#lines.push(`${start}${bounds[i]}} ${counts[i] ?? count}\n`);
    this.addPart('_sum', labels, sum);
    this.addPart('_count', labels, count);
  }

  /** Returns the lines since the last call. */
  take(): string {
    const text = this.#lines.join('');
    this.#lines = [];
    return text;
  }
}
