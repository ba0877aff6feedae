/** A rectangle on the map. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}
