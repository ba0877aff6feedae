/**
 * CNI DELs that came while the agent was down, as files in a directory beside its socket.
 *
 * - One file per attachment, written beside and renamed, so a reader never sees half of one and a repeated DEL is one file.
 * - A writer tries the agent once more after writing, and the agent replays after it listens: no request falls between.
 * - A file goes only after its DEL succeeded; one that is not a request is reported and removed.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CniAttachment } from './cni-types.ts';
import { CniInvalid, parseAttachment } from './cni-validate.ts';

const SUFFIX = '.json';
const FILE_BYTES_MAX = 4096;

export function deleteQueueOf(socketPath: string): string {
  return join(dirname(socketPath), 'deleteQueue');
}

/** ":" is in neither part. */
const fileOf = ({ containerId, ifname }: CniAttachment): string => `${containerId}:${ifname}${SUFFIX}`;

export function enqueueDelete(directory: string, request: CniAttachment): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, fileOf(request));
  const unfinished = `${path}.${process.pid}`;
  writeFileSync(unfinished, JSON.stringify({ containerId: request.containerId, ifname: request.ifname }), {
    mode: 0o600,
  });
  renameSync(unfinished, path);
}

export function dequeueDelete(directory: string, request: CniAttachment): void {
  rmSync(join(directory, fileOf(request)), { force: true });
}

export interface QueuedDeletes {
  requests: CniAttachment[];
  /** What was found in the directory that is no request, with the reason; it has been removed. */
  refused: string[];
}

export function readDeleteQueue(directory: string): QueuedDeletes {
  const requests: CniAttachment[] = [];
  const refused: string[] = [];
  for (const file of listed(directory)) {
    const path = join(directory, file);
    try {
      requests.push(readRequest(path, file));
    } catch (error) {
      refused.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
      rmSync(path, { force: true, recursive: true });
    }
  }
  return { requests, refused };
}

/** Unfinished files of a killed plugin do not end in the suffix: their DEL was never acknowledged, and the runtime repeats it. */
function listed(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((file) => file.endsWith(SUFFIX))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function readRequest(path: string, file: string): CniAttachment {
  const stat = lstatSync(path);
  if (!stat.isFile() || stat.size > FILE_BYTES_MAX) {
    throw new CniInvalid({
      field: 'file',
      value: `${stat.size} bytes`,
      expected: `a regular file of at most ${FILE_BYTES_MAX} bytes`,
    });
  }
  const request = parseAttachment(JSON.parse(readFileSync(path, 'utf8')));
  if (fileOf(request) !== file) throw new CniInvalid({ field: 'file name', value: file, expected: fileOf(request) });
  return request;
}
