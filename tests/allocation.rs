//! Counts the memory that the current thread holds, for tests that bound it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static HELD_MAX: Cell<isize> = const { Cell::new(0) };
}

/// The most bytes that `run` held at once, beyond what was held before.
pub fn held_max<R>(run: impl FnOnce() -> R) -> (R, usize) {
    let before = HELD.get();
    HELD_MAX.set(before);
    let result = run();
    (result, usize::try_from(HELD_MAX.get() - before).expect("the maximum only grows"))
}

fn count(change: isize) {
    let held = HELD.get() + change;
    HELD.set(held);
    HELD_MAX.set(HELD_MAX.get().max(held));
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}
