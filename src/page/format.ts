/** Figures as text, in the units of the command line. */
import { formatSize } from '../base/size.ts';
import type { SampleValue } from './wire.ts';

export const NONE = '–';

/** 0 B, 4 KiB, 312.4 MiB. */
export const formatBytes = (bytes: number): string =>
  formatSize(Math.round(bytes)).replace(
    /^([\d.]+)([BKMGTP])$/,
    (_, number: string, unit: string) => (unit === 'B' ? `${number} B` : `${number} ${unit}iB`),
  );

/** As the command line accepts it, without rounding: 64M, 1536K, 1000001. */
export function exactSize(bytes: number): string {
  if (bytes === 0) return '0';
  const units = ['', 'K', 'M', 'G', 'T', 'P'];
  let at = 0;
  let value = bytes;
  for (; value % 1024 === 0 && at < units.length - 1; at++) value /= 1024;
  return `${value}${units[at]}`;
}

/** 0, 0.4, 12, 1,234. */
export const formatCount = (value: number): string =>
  value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 });

/** 12 µs, 1.2 ms, 3 s. */
export function formatSeconds(seconds: number): string {
  const [value, unit] =
    seconds >= 1 ? [seconds, 's'] : seconds >= 1e-3 ? [seconds * 1e3, 'ms'] : [seconds * 1e6, 'µs'];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** 3.28; a dash if nothing is stored. */
export const formatRatio = (ratio: SampleValue): string =>
  ratio === null ? NONE : ratio.toFixed(2);

/** 09:05:12 in the time zone of the browser. */
export const formatTime = (seconds: number, withSeconds: boolean): string => {
  const date = new Date(seconds * 1000);
  const two = (n: number): string => String(n).padStart(2, '0');
  const text = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return withSeconds ? `${text}:${two(date.getSeconds())}` : text;
};
