/** `--import` this after frontswap/register: what register pages is told to whoever started the program. */
import { whenPaging } from '../../src/memory/register.ts'; // of a program of your own: 'frontswap/register'
import { meter } from './meter.ts';

whenPaging(meter);
