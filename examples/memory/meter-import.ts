/**
 * `--import` this file after frontswap/register: it sends the statistics of the swap to the parent process (meter.ts).
 */
import { whenPaging } from '../../src/memory/register.ts'; // in your own program: 'frontswap/register'
import { meter } from './meter.ts';

whenPaging(meter);
