/**
 * Boots a kernel in QEMU (software emulation: no KVM needed), runs one shell command there as root, and takes the guest away.
 *
 * - The guest sees this machine's root folder, the checkout in it, through virtio-fs and under a tmpfs: it may write
 *   anywhere, and nothing of it reaches the host.
 * - Nothing stays behind: no process, socket or file, whether the command ends, hangs or the caller goes away.
 * - A guest that the emulator lost (emulator.ts) is booted again, and that is said; any other death is the caller's to judge.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpio, type Entry } from './cpio.ts';
import { lostByEmulator } from './emulator.ts';
import { type Kernel, modulePaths } from './kernels.ts';

export interface Guest {
  /** Working folder of the command, as on the host. */
  folder: string;
  /** For `sh`. */
  command: string;
  timeoutMs: number;
  /** Takes the guest away at once. */
  signal?: AbortSignal;
  /** Called with the command's output as it comes. */
  onOutput?: (text: string) => void;
}

export interface Outcome {
  /** Exit code of the command; undefined when the guest died before it ended. */
  code: number | undefined;
  /** Standard output and error of the command. */
  output: string;
  /** What the kernel and the guest's init said. */
  console: string;
  ms: number;
}

const memoryMiB = 3072;
const BOOTS_MAX = 3;
/** Between output and exit code on the second serial port: ASCII's record separator. */
const separator = '\u001e';
/** Needed before the host's root is there to load modules from. */
const earlyModules = ['virtio_pci', 'virtiofs', 'overlay'];

export async function bootAndRun(kernel: Kernel, guest: Guest): Promise<Outcome> {
  for (let boots = 1; ; boots += 1) {
    const outcome = await bootOnce(kernel, guest);
    if (outcome.code !== undefined || boots === BOOTS_MAX || !lostByEmulator(outcome.console)) return outcome;
    console.error(
      `lab: QEMU lost guest ${boots} of at most ${BOOTS_MAX} while its kernel patched itself; another one boots`,
    );
  }
}

async function bootOnce(kernel: Kernel, guest: Guest): Promise<Outcome> {
  const work = mkdtempSync(join(tmpdir(), 'axoneme-lab-'));
  const children: ChildProcess[] = [];
  const started = performance.now();
  try {
    const socket = join(work, 'fs.sock');
    const consoleFile = join(work, 'console');
    const initramfs = join(work, 'initramfs');
    writeFileSync(initramfs, initramfsOf(kernel, guest));

    const fs = start(
      '/usr/lib/qemu/virtiofsd',
      ['-o', 'source=/,cache=always,sandbox=chroot', `--socket-path=${socket}`],
      'ignore',
    );
    children.push(fs);
    await until(() => existsSync(socket), 'virtiofsd does not listen');

    const qemu = start('qemu-system-x86_64', qemuOptions(kernel, { socket, consoleFile, initramfs }), 'pipe');
    children.push(qemu);
    const { code, output } = await follow(qemu, guest);
    return { code, output, console: readIfThere(consoleFile), ms: Math.round(performance.now() - started) };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map((child) => (ended(child) ? undefined : once(child, 'exit'))));
    rmSync(work, { recursive: true, force: true });
  }
}

function qemuOptions(kernel: Kernel, files: { socket: string; consoleFile: string; initramfs: string }): string[] {
  return [
    ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ['-machine', 'q35,memory-backend=memory,hpet=off', '-bios', 'qboot.rom'],
    ['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', `${memoryMiB}M`],
    ['-object', `memory-backend-memfd,id=memory,size=${memoryMiB}M,share=on`],
    ['-chardev', `file,id=console,path=${files.consoleFile}`, '-device', 'isa-serial,chardev=console'],
    ['-chardev', 'stdio,id=command,signal=off', '-device', 'isa-serial,chardev=command,index=1'],
    ['-chardev', `socket,id=fs,path=${files.socket}`, '-device', 'vhost-user-fs-pci,chardev=fs,tag=host'],
    ['-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-pci,rng=rng'],
    ['-kernel', kernel.image, '-initrd', files.initramfs],
    ['-append', 'console=ttyS0 quiet loglevel=4 panic=-1 reboot=t mitigations=off nokaslr random.trust_cpu=on'],
  ].flat();
}

function initramfsOf(kernel: Kernel, { folder, command }: Guest): Buffer {
  const text = (path: string, content: string): Entry => ({ path, content: Buffer.from(content) });
  const modules = modulePaths(kernel, earlyModules).map((path, index) => {
    const name = `${String(index).padStart(2, '0')}-${basename(path, '.xz')}`;
    return { path: `modules/${name}`, content: moduleContent(path) };
  });
  return cpio([
    { path: 'bin' },
    { path: 'bin/busybox', content: readFileSync('/bin/busybox'), executable: true },
    { path: 'init', content: readFileSync(join(import.meta.dirname, 'guest-init.sh')), executable: true },
    { path: 'modules' },
    ...modules,
    text('kernel', kernel.folder),
    text('folder', folder),
    text('command', command),
  ]);
}

/** Newer Debian kernels have their modules compressed; busybox's insmod takes them plain only. */
function moduleContent(path: string): Buffer {
  return path.endsWith('.xz') ? execFileSync('xz', ['--decompress', '--stdout', path]) : readFileSync(path);
}

/** Reads the command's output until its exit code, the guest's end or the time limit. */
async function follow(qemu: ChildProcess, guest: Guest): Promise<{ code: number | undefined; output: string }> {
  let text = '';
  let errors = '';
  qemu.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    const told = text.includes(separator);
    text += chunk;
    const [shown] = chunk.split(separator);
    if (shown && !told) guest.onOutput?.(shown);
  });
  qemu.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    errors += chunk;
  });
  const stop = AbortSignal.any([AbortSignal.timeout(guest.timeoutMs), ...(guest.signal ? [guest.signal] : [])]);
  const stopped = await once(qemu, 'close', { signal: stop }).then(
    () => '',
    () => `\nlab: stopped: ${stop.reason instanceof Error ? stop.reason.message : String(stop.reason)}\n`,
  );
  const [output = '', tail] = text.split(separator);
  return { code: tail === undefined ? undefined : Number(tail), output: output + errors + stopped };
}

function start(command: string, args: readonly string[], output: 'ignore' | 'pipe'): ChildProcess {
  // The death of this process must not leave a guest running for hours.
  return spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], { stdio: ['ignore', output, output] });
}

const ended = (child: ChildProcess) => child.exitCode !== null || child.signalCode !== null;

async function until(condition: () => boolean, complaint: string): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    if (condition()) return;
    await sleep(50);
  }
  throw new Error(complaint);
}

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}
