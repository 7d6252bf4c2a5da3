/**
 * onnxruntime-web: a generated network of eight layers, run over a few inputs. Its memory is shared between threads.
 */
import * as ort from 'onnxruntime-web';
import { answer, below, finish } from './made.mjs';

const WIDTH = 1536;
const LAYERS = 8;

/** The part of Protocol Buffers that a model needs: fields of bytes and of numbers. */
const varint = (n) => {
  const bytes = [];
  for (let left = n; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) + 128);
  }
};
const field = (number, content) => {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
};
const numberField = (number, value) => Buffer.concat([varint(number * 8), varint(value)]);

/** onnx.proto: TensorProto, NodeProto, ValueInfoProto, GraphProto, ModelProto. */
const tensor = (name, dims, floats) =>
  Buffer.concat([
    ...dims.map((dim) => numberField(1, dim)),
    numberField(2, 1),
    field(8, name),
    field(9, Buffer.from(floats.buffer)),
  ]);
const node = (operator, inputs, output) =>
  Buffer.concat([...inputs.map((name) => field(1, name)), field(2, output), field(4, operator)]);
const value = (name) => {
  const shape = [1, WIDTH].map((dim) => field(1, numberField(1, dim)));
  const type = Buffer.concat([numberField(1, 1), field(2, Buffer.concat(shape))]);
  return Buffer.concat([field(1, name), field(2, field(1, type))]);
};

const nodes = [];
const weights = [];
let from = 'in';
for (let layer = 0; layer < LAYERS; layer++) {
  const floats = Float32Array.from({ length: WIDTH * WIDTH }, () => (below(2001) - 1000) / 30_000);
  weights.push(field(5, tensor(`w${layer}`, [WIDTH, WIDTH], floats)));
  nodes.push(field(1, node('MatMul', [from, `w${layer}`], `m${layer}`)));
  from = layer === LAYERS - 1 ? 'out' : `r${layer}`;
  nodes.push(field(1, node('Relu', [`m${layer}`], from)));
}
const graph = [
  ...nodes,
  field(2, 'made'),
  ...weights,
  field(11, value('in')),
  field(12, value('out')),
];
const opset = field(8, numberField(2, 13));
const model = Buffer.concat([numberField(1, 8), opset, field(7, Buffer.concat(graph))]);

ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(model);
for (let i = 0; i < 10; i++) {
  const data = Float32Array.from({ length: WIDTH }, () => below(1000) / 1000);
  const { out } = await session.run({ in: new ort.Tensor('float32', data, [1, WIDTH]) });
  answer([...out.data.slice(0, 100)]);
}
finish();
