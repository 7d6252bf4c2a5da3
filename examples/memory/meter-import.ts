/** `--import` this after frontswap/register: prints what register pages on the terminal that started the program. */
import { whenPaging } from '../../src/memory/register.ts'; // of a program of your own: 'frontswap/register'
import { meter } from './meter.ts';

whenPaging(meter);
