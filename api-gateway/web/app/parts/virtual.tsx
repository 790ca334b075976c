// A list of which only what is seen is in the page. Heights are measured when an item is drawn and guessed
// before; what is being looked at stays where it is, whatever changes above.

import { Component, createRef, type ComponentChild, type JSX } from "preact";

interface Props<Item> {
  items: readonly Item[];
  keyOf: (item: Item) => string;
  /** `isStop`: of all that are drawn, the one that the tab key comes to. */
  render: (item: Item, isStop: boolean) => ComponentChild;
  /** Pixels of an item that has not been drawn. */
  estimate: number;
  label: string;
  class?: string;
  /** Begins at the end, and stays there while new items come. */
  isLog?: boolean;
  /** The first item is near: more may be put before it. */
  onNearTop?: () => void;
  onAtEnd?: (isAtEnd: boolean) => void;
  /** When it changes the list goes to its end. */
  toEnd?: number;
  /** Shown in the middle when it changes. */
  goTo?: string;
  /** The tab key comes to this one, if it is drawn. */
  stop?: string;
  /** Whether the tab key may come to an item; to all of them when missing. */
  canStop?: (item: Item) => boolean;
}

// Drawn beyond what is seen, in pixels.
const MARGIN = 600;
const NEAR_TOP = 1_200;
const AT_END = 40;

export class VirtualList<Item> extends Component<Props<Item>> {
  #scroller = createRef<HTMLDivElement>();
  #heights = new Map<string, number>();
  #offsets = new Float64Array(1);
  #isAtEnd = true;
  #anchor: { key: string; top: number } | null = null;
  #goingTo = "";
  #ended = this.props.toEnd;
  /** As they were laid out. */
  #items: readonly Item[] = [];
  /** Where the list was scrolled to when we last looked, or put it. */
  #top = 0;
  #observer = new ResizeObserver((entries) => this.#measured(entries));
  #frame = 0;
  /** The key of the item that has the focus. */
  #focused = "";

  override componentDidMount(): void {
    this.#observer.observe(this.#scroller.current!);
    this.#settle();
    // Now that it is known how much is seen.
    this.forceUpdate();
  }

  override componentDidUpdate(): void {
    this.#settle();
    this.#keepFocus();
  }

  override componentWillUnmount(): void {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  override render(): JSX.Element {
    const { items, keyOf, render } = this.props;
    // Somebody may have scrolled since, and the event not be here yet.
    this.#lookAgain();
    if (this.props.toEnd !== this.#ended) {
      this.#ended = this.props.toEnd;
      this.#isAtEnd = true;
    }
    this.#lay();
    if (this.props.goTo && this.props.goTo !== this.#goingTo) this.#aim(this.props.goTo);
    const [first, last] = this.#seen();
    const stop = this.#stopAmong(first, last);
    const rows = [];
    for (let at = first; at < last; at += 1) {
      const key = keyOf(items[at]!);
      rows.push(
        <div
          key={key}
          class="virtual-item"
          role="listitem"
          aria-setsize={items.length}
          aria-posinset={at + 1}
          data-key={key}
          ref={this.#drawn}
          style={{ transform: `translateY(${this.#offsets[at]}px)` }}
        >
          {render(items[at]!, key === stop)}
        </div>,
      );
    }
    return (
      <div class={`virtual ${this.props.class ?? ""}`} ref={this.#scroller} onScroll={this.#scrolled}>
        <div
          class="virtual-space"
          onFocusIn={this.#focusing}
          onFocusOut={this.#blurring}
          role="list"
          aria-label={this.props.label}
          style={{ height: `${this.#offsets[items.length]}px` }}
        >
          {rows}
        </div>
      </div>
    );
  }

  #focusing = (event: FocusEvent): void => {
    const item = (event.target as HTMLElement).closest<HTMLElement>(".virtual-item");
    this.#stopAt(item?.dataset.key ?? "");
  };

  #blurring = (event: FocusEvent): void => {
    // It goes nowhere when what had it is taken away (see #keepFocus).
    const next = event.relatedTarget as Node | null;
    if (next && !(event.currentTarget as Node).contains(next)) this.#stopAt("");
  };

  #stopAt(key: string): void {
    if (key === this.#focused) return;
    this.#focused = key;
    this.#again();
  }

  /** What had the focus may be gone: a message has another key when it has its place. */
  #keepFocus(): void {
    if (!this.#focused || document.activeElement !== document.body || this.#indexOf(this.#focused) >= 0) return;
    this.#focused = "";
    this.#scroller.current?.querySelector<HTMLElement>("[data-stop][tabindex='0']")?.focus();
  }

  /** Where the tab key comes to among those that are drawn. */
  #stopAmong(first: number, last: number): string | undefined {
    const { items, keyOf, stop, isLog, canStop = () => true } = this.props;
    const keys = items.slice(first, last).filter(canStop).map(keyOf);
    return [this.#focused, stop].find((key) => key && keys.includes(key)) ?? keys.at(isLog ? -1 : 0);
  }

  #drawn = (element: HTMLDivElement | null): void => {
    if (element) this.#observer.observe(element);
  };

  /** Where each item begins. */
  #lay(): void {
    const { items, keyOf, estimate } = this.props;
    if (this.#offsets.length < items.length + 1) this.#offsets = new Float64Array(Math.ceil(items.length * 1.5) + 64);
    let top = 0;
    for (let at = 0; at < items.length; at += 1) {
      this.#offsets[at] = top;
      top += this.#heights.get(keyOf(items[at]!)) ?? estimate;
    }
    this.#offsets[items.length] = top;
    this.#items = items;
  }

  #seen(): [number, number] {
    const count = this.props.items.length;
    const scroller = this.#scroller.current;
    const height = scroller?.clientHeight ?? 800;
    const top = this.#wantedTop(height);
    const first = this.#at(top - MARGIN);
    const last = Math.min(count, this.#at(top + height + MARGIN) + 1);
    return [first, last];
  }

  /** Where the list is to be scrolled to, with the offsets of now. */
  #wantedTop(height: number): number {
    const total = this.#offsets[this.props.items.length]!;
    if (this.props.isLog && this.#isAtEnd) return Math.max(0, total - height);
    const at = this.#anchor ? this.#indexOf(this.#anchor.key) : -1;
    if (at >= 0) return Math.max(0, Math.min(this.#offsets[at]! - this.#anchor!.top, total - height));
    return this.#scroller.current?.scrollTop ?? 0;
  }

  /** The item at a height, by halving. */
  #at(y: number): number {
    let low = 0;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#offsets[middle + 1]! <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #indexOf(key: string): number {
    const { items, keyOf } = this.props;
    // It has not moved far.
    for (let at = items.length - 1; at >= 0; at -= 1) if (keyOf(items[at]!) === key) return at;
    return -1;
  }

  #aim(key: string): void {
    const at = this.#indexOf(key);
    if (at < 0) return;
    this.#goingTo = key;
    this.#isAtEnd = false;
    this.#anchor = { key, top: (this.#scroller.current?.clientHeight ?? 600) / 3 };
  }

  #settle(): void {
    const scroller = this.#scroller.current!;
    const top = Math.round(this.#wantedTop(scroller.clientHeight));
    if (Math.abs(scroller.scrollTop - top) >= 1) scroller.scrollTop = top;
    this.#top = scroller.scrollTop;
    this.#remember();
    if (scroller.scrollTop < NEAR_TOP) this.props.onNearTop?.();
  }

  #scrolled = (): void => {
    if (this.#lookAgain()) this.#again();
  };

  /** Whether somebody has scrolled; then what they look at now is what stays. */
  #lookAgain(): boolean {
    const scroller = this.#scroller.current;
    if (!scroller || Math.abs(scroller.scrollTop - this.#top) < 1) return false;
    this.#top = scroller.scrollTop;
    const isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < AT_END;
    if (isAtEnd !== this.#isAtEnd) queueMicrotask(() => this.props.onAtEnd?.(isAtEnd));
    this.#isAtEnd = isAtEnd;
    this.#anchor = null;
    this.#remember();
    return true;
  }

  /** What is at the top now is what is to stay there. */
  #remember(): void {
    const top = this.#scroller.current!.scrollTop;
    if (!this.#items.length || this.#anchor) return;
    const at = Math.min(this.#at(top), this.#items.length - 1);
    this.#anchor = { key: this.props.keyOf(this.#items[at]!), top: this.#offsets[at]! - top };
  }

  #measured(entries: ResizeObserverEntry[]): void {
    let isChanged = false;
    for (const { target } of entries) {
      const element = target as HTMLElement;
      const key = element.dataset.key;
      if (key === undefined) {
        isChanged = true;
      } else if (!element.isConnected) {
        this.#observer.unobserve(element);
      } else if (this.#heights.get(key) !== element.offsetHeight) {
        this.#heights.set(key, element.offsetHeight);
        isChanged = true;
      }
    }
    if (isChanged) this.forceUpdate();
  }

  #again(): void {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.forceUpdate();
    });
  }
}
