// SPDX-License-Identifier: Apache-2.0
/** A worker thread that adds and deletes entries of a map without end, until it is terminated. */
import { parentPort, workerData } from 'node:worker_threads';
import { openMapById } from '../index.ts';

const map = openMapById(workerData);
const key = Buffer.alloc(8);
const value = Buffer.alloc(8);
for (let round = 0; ; round++) {
  for (let i = 0; i < 2000; i++) {
    key.writeUInt32LE(32, 0); // a trie's prefix length; part of the key elsewhere
    key.writeUInt32BE((i * 7919 + round) % 3000, 4);
    if ((i + round) % 3 === 0) map.delete(key);
    else map.put(key, value);
  }
  if (round === 1) parentPort?.postMessage('rewriting');
}
