/** tiktoken: encodes text to the tokens of a language model and decodes it. */
import { get_encoding } from 'tiktoken';
import { answer, finish, sentence } from './made.mjs';

const encoding = get_encoding('o200k_base');
for (let i = 0; i < 200; i++) {
  const tokens = encoding.encode(sentence(2000));
  answer([tokens.length, tokens[99]]);
  answer(encoding.decode(tokens));
}
encoding.free();
finish();
