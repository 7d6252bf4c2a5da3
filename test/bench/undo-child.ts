/** Makes three changes, undoes one of them, prints a line, and waits to be ended. */
import { undoLater } from '../../bench/peers/undo.ts';

undoLater(() => console.log('first'));
undoLater(() => {
  throw new Error('cannot');
});
undoLater(() => console.log('last'));
const early = undoLater(() => console.log('early'));
early[Symbol.dispose]();
early[Symbol.dispose]();
if (process.argv[2] === 'throw') throw new Error('not caught');
console.log('ready');
setInterval(() => undefined, 1000);
