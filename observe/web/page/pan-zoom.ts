/**
 * A drawing that is moved and scaled by mouse, touchpad and keys.
 *
 * - It fits its content until the reader moves it; then it stays where it was put, whatever is drawn anew.
 */
import type { Box } from './box.ts';

const SCALE_MIN = 0.08;
const SCALE_MAX = 2.5;
/** Larger than life is not easier to read. */
const FIT_MAX = 1.15;
const READABLE = 0.8;
const PADDING = 28;
const DRAG_PX = 4;
/** Buttons in the corner, to the right of what fits. */
const BUTTONS_PX = 36;

export class PanZoom {
  #x = 0;
  #y = 0;
  #scale = 1;
  #isOwn = false;
  #content: Box = { x: 0, y: 0, width: 1, height: 1 };
  #host: SVGSVGElement | undefined;
  #isAwaited = false;
  #drag: { x: number; y: number; isMoved: boolean } | undefined;
  readonly #changed: () => void;
  readonly #resized = new ResizeObserver(() => {
    if (!this.#isOwn) this.reset();
  });

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get transform(): string {
    return `translate(${this.#x.toFixed(2)} ${this.#y.toFixed(2)}) scale(${this.#scale.toFixed(4)})`;
  }

  get scale(): number {
    return this.#scale;
  }

  /** True just after a drag: the click that ends it means nothing. */
  wasDragged = false;

  /** What is drawn, and where; called at each drawing. */
  show(content: Box, host: SVGSVGElement | null): void {
    const isNew = host !== null && host !== this.#host;
    if (host) this.#host = host;
    this.#content = content;
    if (!this.#isOwn) this.#fit();
    // The first time there is no drawing yet to fit into: once more, even when nothing else changes.
    if (host === null && !this.#isAwaited) requestAnimationFrame(this.#changed);
    this.#isAwaited = host === null;
    if (!isNew) return;
    this.#resized.disconnect();
    this.#resized.observe(host);
    queueMicrotask(this.#changed);
  }

  reset(): void {
    this.#isOwn = false;
    this.#fit();
    this.#changed();
  }

  /** As far as needed for the box to be seen. */
  reveal({ x, y, width, height }: Box): void {
    const frame = this.#frame();
    const [left, top] = [x * this.#scale + this.#x, y * this.#scale + this.#y];
    const [right, bottom] = [left + width * this.#scale, top + height * this.#scale];
    const dx = left < PADDING ? PADDING - left : right > frame.width - PADDING ? frame.width - PADDING - right : 0;
    const dy = top < PADDING ? PADDING - top : bottom > frame.height - PADDING ? frame.height - PADDING - bottom : 0;
    if (dx !== 0 || dy !== 0) this.#move(dx, dy);
  }

  /** In the middle, large enough to be read. */
  center({ x, y, width, height }: Box): void {
    const frame = this.#frame();
    this.#scale = Math.max(this.#scale, READABLE);
    this.#x = frame.width / 2 - (x + width / 2) * this.#scale;
    this.#y = frame.height / 2 - (y + height / 2) * this.#scale;
    this.#isOwn = true;
    this.#changed();
  }

  zoom(factor: number, at?: { x: number; y: number }): void {
    const frame = this.#frame();
    const { x, y } = at ?? { x: frame.width / 2, y: frame.height / 2 };
    const scale = Math.min(SCALE_MAX, Math.max(SCALE_MIN, this.#scale * factor));
    this.#x = x - ((x - this.#x) * scale) / this.#scale;
    this.#y = y - ((y - this.#y) * scale) / this.#scale;
    this.#scale = scale;
    this.#isOwn = true;
    this.#changed();
  }

  key({ key }: KeyboardEvent): boolean {
    if (key === '+' || key === '=') this.zoom(1.25);
    else if (key === '-') this.zoom(0.8);
    else if (key === '0') this.reset();
    else return false;
    return true;
  }

  readonly wheel = (event: WheelEvent): void => {
    event.preventDefault();
    const box = this.#frame();
    const at = { x: event.clientX - box.left, y: event.clientY - box.top };
    if (event.ctrlKey || !event.shiftKey) this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), at);
    else this.#move(-event.deltaX - event.deltaY, 0);
  };

  readonly down = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    this.#drag = { x: event.clientX, y: event.clientY, isMoved: false };
    this.wasDragged = false;
  };

  readonly move = (event: PointerEvent): void => {
    const drag = this.#drag;
    if (!drag) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.isMoved && Math.hypot(dx, dy) < DRAG_PX) return;
    if (!drag.isMoved) (event.currentTarget as Element).setPointerCapture(event.pointerId);
    this.#drag = { x: event.clientX, y: event.clientY, isMoved: true };
    this.wasDragged = true;
    this.#move(dx, dy);
  };

  readonly up = (): void => {
    this.#drag = undefined;
  };

  #move(dx: number, dy: number): void {
    this.#x += dx;
    this.#y += dy;
    this.#isOwn = true;
    this.#changed();
  }

  #frame(): { left: number; top: number; width: number; height: number } {
    return this.#host?.getBoundingClientRect() ?? { left: 0, top: 0, width: 800, height: 600 };
  }

  #fit(): void {
    const { x, y, width, height } = this.#content;
    const frame = this.#frame();
    const room = { width: frame.width - BUTTONS_PX - 2 * PADDING, height: frame.height - 2 * PADDING };
    const scale = Math.min(room.width / Math.max(1, width), room.height / Math.max(1, height), FIT_MAX);
    this.#scale = Math.max(SCALE_MIN, scale);
    this.#x = (frame.width - BUTTONS_PX - width * this.#scale) / 2 - x * this.#scale;
    this.#y = (frame.height - height * this.#scale) / 2 - y * this.#scale;
  }
}
