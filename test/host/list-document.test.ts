/** The list document: its schema, the committed schema file, and the check of a host's reply. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  checkListDocument,
  type DiskReport,
  listDocument,
  listSchema,
} from '../../src/host/list-document.ts';
import { StandInDisk } from '../support/fakes/stand-in.ts';

const root = join(import.meta.dirname, '../../..');
const report = (): DiskReport => ({
  name: 'swap0',
  readOnly: false,
  connections: 1,
  isFrozen: false,
  isPersistent: true,
  imageBytes: 8192,
  adoptedPages: 2,
  rateBytes: 0,
  tls: 'off',
  allowedUids: null,
  allowedGids: [0, 1000],
  vhostUserSocket: '',
  hostPid: 1,
  hostControl: '/c',
  uris: ['nbd://127.0.0.1:10809/swap0'],
  ...new StandInDisk({ sizeBytes: 1 << 20, limitBytes: 0, codec: 'lz4' }).stats(),
});

interface Schema {
  readonly const?: unknown;
  readonly type?: string | readonly string[];
  readonly minimum?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

/** The part of JSON schema that the document uses. */
function fits(schema: Schema, value: unknown): boolean {
  if ('const' in schema) return value === schema.const;
  const { type } = schema;
  if (typeof type === 'object')
    return type.some((one) =>
      one === 'null' ? value === null : fits({ ...schema, type: one }, value),
    );
  if (schema.type === 'integer')
    return Number.isInteger(value) && Number(value) >= (schema.minimum ?? -Infinity);
  if (schema.type === 'array')
    return Array.isArray(value) && value.every((one) => fits(schema.items ?? {}, one));
  if (schema.type !== 'object') return schema.type === undefined || typeof value === schema.type;
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Record<string, unknown>;
  return (
    (schema.required ?? []).every((name) => name in fields) &&
    Object.entries(schema.properties ?? {}).every(
      ([name, part]) => !(name in fields) || fits(part, fields[name]),
    )
  );
}

const accepts = (value: unknown): boolean => {
  try {
    checkListDocument(value);
    return true;
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'ERR_PEER_PROTOCOL');
    return false;
  }
};

test('the document of a host passes the schema and the check', () => {
  const document = JSON.parse(JSON.stringify(listDocument([report()])));
  assert.ok(fits(listSchema(), document));
  assert.deepEqual(checkListDocument(document), document);
});

test('schema and check agree on every kind of damage, in every field', () => {
  const bad = [undefined, null, -1, 1.5, '1', {}, [1], true, 'x', []];
  let refusals = 0;
  for (const name of Object.keys(report()) as (keyof DiskReport)[])
    for (const value of bad) {
      const disk = { ...report(), [name]: value };
      const document = JSON.parse(JSON.stringify({ schemaVersion: 1, disks: [disk] }));
      const accepted = accepts(document);
      assert.equal(accepted, fits(listSchema(), document), `${name} = ${JSON.stringify(value)}`);
      if (!accepted) refusals++;
    }
  assert.ok(refusals > 100, `${refusals} refusals`);
});

test('another version, or no document at all, is refused', () => {
  for (const value of [null, 1, 'x', [], {}, { schemaVersion: 2, disks: [] }, { schemaVersion: 1 }])
    assert.equal(accepts(value), false);
  assert.equal(accepts({ schemaVersion: 1, disks: [null] }), false);
});

test('text that would control a terminal is refused', () => {
  for (const text of ['\x1b[2J', 'a\nb', '\x9b', '\u202e'])
    for (const disk of [{ name: text }, { hostControl: text }, { uris: [text] }])
      assert.equal(accepts(listDocument([{ ...report(), ...disk }])), false, JSON.stringify(disk));
  assert.ok(accepts(listDocument([{ ...report(), name: 'größe' }])));
});

test('fields added by a newer host are accepted', () => {
  const disks = [{ ...report(), somethingNew: 1 }];
  assert.ok(accepts({ schemaVersion: 1, disks, more: true }));
});

test('docs/reference/list.schema.json is the schema', () => {
  const file = readFileSync(join(root, 'docs/reference/list.schema.json'), 'utf8');
  assert.deepEqual(JSON.parse(file), listSchema());
});
