#!/usr/bin/env node
console.log('0');
