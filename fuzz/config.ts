/**
 * Fuzzes the configuration of a host with random bytes and with damaged TOML. Each text must end in a configuration or in a
 * SwapError whose message is printable and short. A configuration that is accepted must be the same when it is read again.
 */
import assert from 'node:assert/strict';
import { SwapError } from '../src/base/errors.ts';
import { Prng } from '../src/base/prng.ts';
import { resolveHostConfig } from '../src/host/config/host-config.ts';
import { Problems } from '../src/host/config/problems.ts';
import { layerOfToml } from '../src/host/config/toml-file.ts';

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
}

/** A message has a line for each of 20 errors. */
const MESSAGE_CHARACTERS_MAX = 20_000;

const pieces = [
  ...[
    '[disks.vm1]\n',
    '[disks."a.b"]\n',
    '[disks]\n',
    '[[disks]]\n',
    '[',
    ']',
    '{',
    '}',
    ',',
    '\n',
  ],
  ...['size = "4G"\n', 'size = 4096000\n', 'limit = "25%"\n', 'keep = 60\n', 'keep = "never"\n'],
  ...['shared = true\n', 'rate = "1M"\n', 'allow-uid = [1, 2]\n', 'allow-gid = "any"\n', '# a\n'],
  ...['backing = "/b"\n', 'unix = "/s"\n', 'port = 0\n', 'socket-mode = "0660"\n', 'tls = "on"\n'],
  ...['tls-psk = "/k"\n', 'exportname = "vm1"\n', 'metrics = "[::1]:9"\n', 'total-limit = "50%"\n'],
  ...['codec = "lz4"\n', 'no-control = true\n', 'run = """a\nb"""\n', "run = '''a'''\n", '"', "'"],
  ...[
    '__proto__ = 1\n',
    'constructor.a = 1\n',
    'toString = []\n',
    '1979-05-27',
    'nan',
    'inf',
    '-0',
  ],
  ...[
    '= ',
    '.',
    '\\',
    '\\u0000',
    '"\\U0010ffff"',
    '\u202e',
    '\0',
    '\r\n',
    '\ufeff',
    '🦊',
    '0x',
    '1e9',
  ],
] as const;

const memory = { bytes: 2 ** 34, isGroupLimit: false };

/** A text of pieces, some of them cut, doubled or changed. */
function damagedToml(prng: Prng): string {
  let text = '';
  for (let count = prng.below(30); count >= 0; count--) text += pieces[prng.below(pieces.length)];
  for (let count = prng.below(4); count > 0; count--) {
    const [at, end] = [prng.below(text.length + 1), prng.below(text.length + 1)];
    if (prng.oneIn(3)) text = text.slice(0, at) + text.slice(at + prng.below(8));
    else if (prng.oneIn(2))
      text = text.slice(0, at) + text.slice(Math.min(at, end), end) + text.slice(at);
    else text = text.slice(0, at) + String.fromCharCode(prng.below(0x180)) + text.slice(at + 1);
  }
  return text;
}

const randomText = (prng: Prng): string =>
  Array.from({ length: prng.below(200) }, () => String.fromCharCode(prng.below(256))).join('');

/** The configuration as JSON, or the message of its error. */
function outcome(text: string): string {
  const problems = new Problems();
  try {
    const layer = layerOfToml('f', text, problems);
    if (layer === null) problems.throwIfAny();
    assert.ok(layer !== null, 'no settings and no error');
    return JSON.stringify(resolveHostConfig(layer, { memory }, problems));
  } catch (error) {
    assert.ok(error instanceof SwapError, `not a SwapError: ${String((error as Error).stack)}`);
    assert.match(error.code, /^ERR_ARG_/);
    assert.ok(error.message.length < MESSAGE_CHARACTERS_MAX, 'a short message');
    assert.doesNotMatch(error.message.replaceAll('\n', ''), /\p{Cc}/u, 'a printable message');
    return error.message;
  }
}

/** Checks one text. */
function checkText(text: string): void {
  const first = outcome(text);
  assert.equal(outcome(text), first);
}

/** Runs for `seconds`; returns the number of texts. Throws at the first failure. */
export function run({ seed, seconds }: FuzzOptions): number {
  const prng = new Prng(seed);
  const end = performance.now() + seconds * 1000;
  let count = 0;
  for (; performance.now() < end; count++)
    checkText(prng.oneIn(4) ? randomText(prng) : damagedToml(prng));
  return count;
}
