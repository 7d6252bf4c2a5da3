/**
 * SVG as text: elements, and the frame that every picture has: title and description for screen readers, and a style
 * with the colors of light and dark mode. The background is transparent; text is in the reader's system fonts.
 *
 * Colors are Okabe and Ito's, which people with any color vision can tell apart; charts add dashes and markers.
 */

type Attributes = Readonly<Record<string, string | number>>;

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
/** Characters that XML 1.0 does not allow in any form. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is replaced
const forbidden = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu;

/** Text as content or attribute value; characters that XML forbids become U+FFFD. */
export function escapeXml(text: string): string {
  return text.replace(forbidden, '\ufffd').replace(/[&<>"']/g, (c) => entities[c]!);
}

/** At most two decimals: enough for a pixel, and the same text everywhere. */
function formatNumber(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`an SVG attribute cannot be ${value}`);
  return String(Math.round(value * 100) / 100 + 0);
}

/** An element; children are markup. */
export function element(name: string, attributes: Attributes, ...children: string[]): string {
  const written = Object.entries(attributes).map(
    ([key, value]) =>
      ` ${key}="${typeof value === 'number' ? formatNumber(value) : escapeXml(value)}"`,
  );
  const start = `<${name}${written.join('')}`;
  return children.length === 0 ? `${start}/>` : `${start}>${children.join('')}</${name}>`;
}

type Anchor = 'start' | 'middle' | 'end';

/** A line of text; `y` is its baseline. */
export function text(x: number, y: number, anchor: Anchor, type: string, content: string): string {
  return element('text', { x, y, 'text-anchor': anchor, class: type }, escapeXml(content));
}

/** Estimated width of text in a 12-pixel system font, because SVG cannot measure it; rather too wide. */
export const textWidth = (content: string): number => content.length * 6.8;

/** Number of colors: classes `s0` (stroke) and `f0` (fill), `s1`, ... */
const light = ['#0072b2', '#d55e00', '#00795a', '#a8487c', '#59636e'];
const dark = ['#56b4e9', '#f0a132', '#2bbf91', '#de92bd', '#9198a1'];
export const COLORS: number = light.length;

const colorRules = (colors: readonly string[]): string =>
  colors.map((color, i) => `.s${i}{stroke:${color}}.f${i}{fill:${color}}`).join('');

const style = [
  'text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",Ubuntu,sans-serif}',
  '.heading{font-size:15px;font-weight:600}.panel{font-size:13px;font-weight:600}',
  '.note{font-size:11px}.label{font-weight:600}',
  '.text,.heading,.panel,.tick{fill:#1f2328}.note{fill:#59636e}',
  '.grid{stroke:#d8dee4}.axis{stroke:#818b98}.band{fill:#818b98;fill-opacity:.1}',
  '.line{fill:none;stroke-width:2;stroke-linejoin:round}',
  colorRules(light),
  '@media(prefers-color-scheme:dark){',
  '.text,.heading,.panel,.tick{fill:#e6edf3}.note{fill:#9198a1}',
  '.grid{stroke:#30363d}.axis{stroke:#656c76}.band{fill:#9198a1;fill-opacity:.12}',
  `${colorRules(dark)}}`,
].join('');

export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly title: string;
  /** Describes the picture for readers who cannot see it. */
  readonly description: string;
  /** Style rules besides the common ones. */
  readonly style?: string;
  /** Makes the ids of title and description unique among the pictures of a page. */
  readonly id?: string;
}

/** A complete SVG document. */
export function document(frame: Frame, body: readonly string[]): string {
  const { width, height, title, description, id = '' } = frame;
  const attributes = {
    xmlns: 'http://www.w3.org/2000/svg',
    viewBox: `0 0 ${formatNumber(width)} ${formatNumber(height)}`,
    ...{ width, height, role: 'img', 'aria-labelledby': `${id}title ${id}desc` },
  };
  const lines = [
    element('title', { id: `${id}title` }, escapeXml(title)),
    element('desc', { id: `${id}desc` }, escapeXml(description)),
    element('style', {}, `${style}${frame.style ?? ''}`),
    ...body,
  ];
  return `${element('svg', attributes, `\n${lines.join('\n')}\n`)}\n`;
}
