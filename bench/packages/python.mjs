/** pyodide: Python that searches a log in its heap. */
import { loadPyodide } from 'pyodide';
import { answer, finish } from './made.mjs';

const python = await loadPyodide();
const found = python.runPython(`
import json
state = 2010
def below(limit):
    global state
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return (state >> 8) % limit
words = 'order parcel customer address invoice payment delivery warehouse returned pending shipped'.split()
log = [f'{i:08} day {i // 300} customer {below(5000):05} ' + ' '.join([words[below(11)] for _ in range(24)])
       for i in range(600_000)]
late = sum(1 for line in log if 'returned pending' in line)
last = [line for line in log[-20_000:] if 'shipped shipped' in line]
json.dumps([len(log), late, last])
`);
answer(found);
finish();
