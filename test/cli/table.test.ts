import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTable } from '../../src/cli/table.ts';

const columns = [
  { name: 'NAME', right: false },
  { name: 'TOTAL', right: true },
  { name: 'URI', right: false },
];
const rows = [
  ['a', '1G', 'x y'],
  ['longer', '312.4M', ''],
];

test('text is aligned left, numbers right, without trailing spaces', () => {
  assert.equal(
    formatTable(columns, rows, { raw: false, headings: true }),
    'NAME    TOTAL URI\na          1G x y\nlonger 312.4M\n',
  );
});

test('without headings the columns are as wide as the cells', () => {
  assert.equal(
    formatTable(columns, [['a', '1G', 'u']], { raw: false, headings: false }),
    'a 1G u\n',
  );
});

test('raw cells are separated by one space and contain none', () => {
  assert.equal(
    formatTable(columns, rows, { raw: true, headings: true }),
    'NAME TOTAL URI\na 1G x\\x20y\nlonger 312.4M -\n',
  );
  assert.equal(
    formatTable(columns, [['a\\x20', '1', 'u']], { raw: true, headings: false }),
    'a\\x5cx20 1 u\n',
  );
});

test('a table without rows is its heading', () => {
  assert.equal(formatTable(columns, [], { raw: false, headings: true }), 'NAME TOTAL URI\n');
});

test('control characters in a cell are shown as question marks', () => {
  const table = formatTable([{ name: 'NAME', right: false }], [['a\u001b[31mb\n']], {
    raw: false,
    headings: false,
  });
  assert.equal(table, 'a?[31mb?\n');
});
