/** The protocol's files, and how they are read. */
import { join } from 'node:path';
import type { Options } from '@grpc/proto-loader';

export const PROTO_OPTIONS: Options = {
  includeDirs: [join(import.meta.dirname, 'proto')],
  keepCase: true,
  longs: Number,
  enums: String,
};
export const PROTO_FILES = ['observer/observer.proto', 'peer/peer.proto', 'health/health.proto'];
