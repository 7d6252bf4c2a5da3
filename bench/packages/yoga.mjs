/** yoga-layout: lays out the pages of a long report and keeps them all; lays out the last ones for another width. */
import Yoga from 'yoga-layout';
import { answer, below, finish } from './made.mjs';

function page() {
  const root = Yoga.Node.create();
  root.setFlexDirection(Yoga.FLEX_DIRECTION_COLUMN);
  for (let r = 0; r < 30; r++) {
    const row = Yoga.Node.create();
    row.setFlexDirection(Yoga.FLEX_DIRECTION_ROW);
    row.setFlexWrap(Yoga.WRAP_WRAP);
    row.setPadding(Yoga.EDGE_ALL, 4);
    for (let c = 0; c < 12; c++) {
      const box = Yoga.Node.create();
      box.setWidth(40 + below(100));
      box.setHeight(20 + below(30));
      box.setMargin(Yoga.EDGE_RIGHT, 5);
      row.insertChild(box, c);
    }
    root.insertChild(row, r);
  }
  return root;
}

function layOut(root, width) {
  root.calculateLayout(width, undefined, Yoga.DIRECTION_LTR);
  answer(root.getComputedLayout());
  answer(root.getChild(7).getChild(3).getComputedLayout());
}

const pages = Array.from({ length: 1200 }, () => {
  const root = page();
  layOut(root, 1200);
  return root;
});
for (const root of pages.slice(-100)) layOut(root, 400);
finish();
