/**
 * The CNI plugin: reads environment and stdin, asks the agent, writes the result or an error object to stdout.
 *
 * - It decides nothing: every choice is the agent's.
 * - DEL succeeds without the agent: it is left in the delete queue, which the agent replays when it starts.
 */
import { deleteQueueOf, dequeueDelete, enqueueDelete } from '../../cluster/cni-delete-queue.ts';
import { type CniAddResult, type CniReply, type CniStatus, cniCodes } from '../../cluster/cni-types.ts';
import { ask, askPatiently, type Outcome } from './agent-client.ts';
import { type NetworkConfig, parseConfig, supportedVersions } from './config.ts';
import { type Environment, parseEnvironment } from './environment.ts';
import { CniFailure, fail } from './failure.ts';
import { promisedAddresses } from './previous-result.ts';
import { addResult } from './result.ts';

/** How long an agent may take to restart before ADD gives up. */
const RESTART_PATIENCE_MS = 5_000;
/** Larger than any network configuration, smaller than what hurts. */
const STDIN_BYTES_MAX = 8 << 20;

async function run(env: Environment, config: NetworkConfig): Promise<unknown> {
  const { containerId, ifname, netns } = env;
  switch (env.command) {
    case 'VERSION':
      return { cniVersion: config.cniVersion, supportedVersions };
    case 'ADD': {
      const request = { containerId, ifname, netns, ...env.args };
      const reply = replyOf(await askPatiently(RESTART_PATIENCE_MS, config.socket, 'POST', '/v1/cni/add', request));
      return addResult(reply.result as CniAddResult, { ...config, ifname, netns });
    }
    case 'DEL':
      return del(config.socket, { containerId, ifname });
    case 'CHECK': {
      const addresses = promisedAddresses(config.prevResult ?? {}, ifname);
      replyOf(await ask(config.socket, 'POST', '/v1/cni/check', { containerId, ifname, netns, addresses }));
      return undefined;
    }
    case 'GC': {
      const { validAttachments } = config;
      replyOf(await askPatiently(RESTART_PATIENCE_MS, config.socket, 'POST', '/v1/cni/gc', { validAttachments }));
      return undefined;
    }
    case 'STATUS':
      return status(await ask(config.socket, 'GET', '/v1/cni/status'));
  }
}

async function del(socket: string, request: { containerId: string; ifname: string }): Promise<undefined> {
  const deliver = () => ask(socket, 'POST', '/v1/cni/del', request);
  const first = await deliver();
  if (!unheard(first)) return void replyOf(first);
  const queue = deleteQueueOf(socket);
  enqueueDelete(queue, request);
  // An agent that began to listen meanwhile may have read the queue before our file was in it.
  const second = await deliver();
  if (unheard(second)) return undefined;
  if (!('failure' in second)) dequeueDelete(queue, request);
  replyOf(second);
  return undefined;
}

function unheard(outcome: Outcome): boolean {
  return 'failure' in outcome && (outcome.failure.kind === 'absent' || outcome.failure.kind === 'lost');
}

function status(outcome: Outcome): undefined {
  if ('failure' in outcome) fail(cniCodes.notAvailable, 'the axoneme agent does not answer', outcome.failure.reason);
  const { ready, reason } = outcome.reply.result as CniStatus;
  if (!ready) fail(cniCodes.notAvailable, 'the axoneme agent is not ready', reason);
}

function replyOf(outcome: Outcome): CniReply {
  if ('failure' in outcome) {
    const { kind, reason } = outcome.failure;
    const msg = {
      absent: 'the axoneme agent is not running',
      lost: 'the axoneme agent went away during the request',
      silent: 'the axoneme agent does not answer',
      odd: 'the axoneme agent gave an answer that is none',
    }[kind];
    fail(cniCodes.tryAgainLater, msg, reason);
  }
  if (outcome.reply.error) throw new CniFailure(outcome.reply.error);
  return outcome.reply;
}

async function readStdin(): Promise<string> {
  if (process.stdin.isTTY) return '';
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > STDIN_BYTES_MAX) fail(cniCodes.io, `stdin is too large, expected at most ${STDIN_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The version that an error object bears: the caller's, as far as it can be known. */
let cniVersion: string = supportedVersions.at(-1) ?? '';

try {
  const env = parseEnvironment(process.env);
  const config = parseConfig(await readStdin(), env.command);
  cniVersion = config.cniVersion;
  const result = await run(env, config);
  if (result !== undefined) process.stdout.write(`${JSON.stringify(result)}\n`);
} catch (error) {
  const { code, details } = error instanceof CniFailure ? error : { code: cniCodes.io, details: '' };
  const msg = error instanceof Error ? error.message : String(error);
  process.stdout.write(`${JSON.stringify({ cniVersion, code, msg, details })}\n`);
  process.exitCode = 1;
}
