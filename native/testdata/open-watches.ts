// SPDX-License-Identifier: Apache-2.0
/** A worker thread that exits while a ring buffer and a netlink socket are still open. */
import { workerData } from 'node:worker_threads';
import { NetlinkSocket, openObject, ringBuffer } from '../index.ts';

const object = openObject(workerData);
object.load();
ringBuffer(object.map('events'), () => {});
new NetlinkSocket('route', { groups: [1] }).onMessages(() => {});
setTimeout(() => process.exit(7), 20);
