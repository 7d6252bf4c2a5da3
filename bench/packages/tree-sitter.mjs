/** web-tree-sitter: parses many JavaScript files and keeps their trees, as the index of an editor does. */
import { createRequire } from 'node:module';
import { Language, Parser, Query } from 'web-tree-sitter';
import { answer, below, finish } from './made.mjs';

const require = createRequire(import.meta.url);
await Parser.init();
const language = await Language.load(
  require.resolve('tree-sitter-javascript/tree-sitter-javascript.wasm'),
);
const parser = new Parser();
parser.setLanguage(language);
const source = (functions) => {
  let text = '';
  for (let i = 0; i < functions; i++)
    text += `export function f${i}(a, b) {\n  const c = a * ${below(100)} + b[${below(9)}];\n  if (c > ${below(50)}) return f${below(functions)}(c, { key: 'value ${below(20)}', list: [a, b, c] });\n  for (const x of b) console.log(x.name, x.size ?? 0);\n  return c;\n}\n`;
  return text;
};
const trees = Array.from({ length: 60 }, () => parser.parse(source(400)));
const calls = new Query(language, '(call_expression function: (identifier) @name)');
for (const tree of trees) {
  answer(tree.rootNode.hasError);
  answer(calls.captures(tree.rootNode).length);
}
answer(trees[7].rootNode.descendantForIndex(5000, 5001).text);
finish();
