/** Writes one netlink message: header, fixed part, attributes. Grows as needed. Little endian, as the hosts we run on. */
export class MessageWriter {
  #buffer = Buffer.alloc(512);
  #end = 16;

  constructor(type: number, flags: number) {
    this.#buffer.writeUInt16LE(type, 4);
    this.#buffer.writeUInt16LE(flags, 6);
  }

  /** Appends the family's fixed header (ifinfomsg, rtmsg …). */
  fixed(bytes: Buffer): this {
    this.#reserve(bytes.length + 4);
    bytes.copy(this.#buffer, this.#end);
    this.#end += align(bytes.length);
    return this;
  }

  bytes(type: number, value: Uint8Array): this {
    const length = 4 + value.length;
    this.#reserve(length + 4);
    this.#buffer.writeUInt16LE(length, this.#end);
    this.#buffer.writeUInt16LE(type, this.#end + 2);
    this.#buffer.set(value, this.#end + 4);
    this.#buffer.fill(0, this.#end + length, this.#end + align(length));
    this.#end += align(length);
    return this;
  }

  u8(type: number, value: number): this {
    return this.bytes(type, Uint8Array.of(value));
  }

  /** 16 bits in network byte order, as VXLAN's port. */
  u16be(type: number, value: number): this {
    return this.bytes(type, Uint8Array.of(value >> 8, value & 255));
  }

  u32(type: number, value: number): this {
    const b = Buffer.allocUnsafe(4);
    b.writeUInt32LE(value >>> 0);
    return this.bytes(type, b);
  }

  text(type: number, value: string): this {
    return this.bytes(type, Buffer.from(`${value}\0`));
  }

  /** An attribute that holds attributes. */
  nest(type: number, fill: (inner: this) => void): this {
    this.#reserve(8);
    const start = this.#end;
    this.#end += 4;
    fill(this);
    this.#buffer.writeUInt16LE(this.#end - start, start);
    this.#buffer.writeUInt16LE(type, start + 2);
    return this;
  }

  finish(sequence: number): Buffer {
    this.#buffer.writeUInt32LE(this.#end, 0);
    this.#buffer.writeUInt32LE(sequence, 8);
    return this.#buffer.subarray(0, this.#end);
  }

  #reserve(more: number): void {
    if (this.#end + align(more) <= this.#buffer.length) return;
    const bigger = Buffer.alloc(Math.max(this.#buffer.length * 2, this.#end + align(more)));
    this.#buffer.copy(bigger);
    this.#buffer = bigger;
  }
}

/** One message as received. `payload` starts behind the netlink header. */
export type Message = {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
};

/** Splits what one recv gave into messages. */
export function* readMessages(data: Buffer): Generator<Message> {
  let at = 0;
  while (at + 16 <= data.length) {
    const length = data.readUInt32LE(at);
    if (length < 16 || at + length > data.length) return;
    yield {
      type: data.readUInt16LE(at + 4),
      flags: data.readUInt16LE(at + 6),
      sequence: data.readUInt32LE(at + 8),
      payload: data.subarray(at + 16, at + length),
    };
    at += align(length);
  }
}

/** Attributes by type; the last of a kind wins. For lists, in which all are of one kind, see {@link listAttributes}. */
export const readAttributes = (data: Buffer): Map<number, Buffer> => new Map(listAttributes(data));

/** Attributes in their order, each with its type. */
export function* listAttributes(data: Buffer): Generator<readonly [type: number, value: Buffer]> {
  let at = 0;
  while (at + 4 <= data.length) {
    const length = data.readUInt16LE(at);
    if (length < 4) break;
    yield [data.readUInt16LE(at + 2) & 0x3fff, data.subarray(at + 4, at + length)];
    at += align(length);
  }
}

const align = (n: number): number => (n + 3) & ~3;
