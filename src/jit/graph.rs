//! The shape of a region's control flow: order, dominators, loops, and the longest ways through it.

use super::region::{End, Region};

/// What structured control flow needs to know of a region.
pub struct Graph {
    /// Nodes in reverse postorder; the entry first.
    pub order: Vec<usize>,
    /// A node's place in [`order`](Self::order), or `usize::MAX`.
    pub place: Vec<usize>,
    /// Nodes that each node dominates immediately, by place.
    pub children: Vec<Vec<usize>>,
    /// Whether an edge leads back to the node.
    pub is_loop: Vec<bool>,
    /// Whether two or more edges lead forward to the node.
    pub is_merge: Vec<bool>,
    /// Instructions on the longest way from the node to where the budget is looked at next.
    pub longest: Vec<u32>,
    dominator: Vec<usize>,
}

impl Graph {
    /// Analyses a region. Edges into the middle of a loop become exits: they are counted as not there.
    pub fn new(region: &Region) -> Self {
        let count = region.nodes.len();
        let successors: Vec<Vec<usize>> =
            region.nodes.iter().map(|node| node.successors().collect()).collect();
        let order = reverse_postorder(&successors);
        let mut place = vec![usize::MAX; count];
        for (position, &node) in order.iter().enumerate() {
            place[node] = position;
        }
        let dominator = dominators(&successors, &order, &place);
        let mut graph = Self {
            children: vec![Vec::new(); count],
            is_loop: vec![false; count],
            is_merge: vec![false; count],
            longest: vec![0; count],
            order,
            place,
            dominator,
        };
        let mut forward = vec![0u32; count];
        for &node in &graph.order {
            for &next in &successors[node] {
                if graph.is_back(node, next) {
                    graph.is_loop[next] |= graph.dominates(next, node);
                } else {
                    forward[next] += 1;
                }
            }
        }
        for &node in &graph.order[1..] {
            graph.children[graph.dominator[node]].push(node);
            graph.is_merge[node] = forward[node] > 1;
        }
        for &node in graph.order.iter().rev() {
            let block = region.nodes[node].block;
            // Behind a call, and on the way back to the head of a loop, the budget is looked at again.
            let is_call = matches!(region.nodes[node].end, End::Call(..));
            let onward = successors[node].iter().filter(|&&next| !is_call && !graph.is_back(node, next));
            let rest = onward.map(|&next| graph.longest[next]).max().unwrap_or(0);
            graph.longest[node] = block.instruction_count() as u32 + rest;
        }
        graph
    }

    /// Whether the edge leads back in the order.
    pub fn is_back(&self, from: usize, to: usize) -> bool {
        self.place[to] <= self.place[from]
    }

    /// Whether the edge can be taken within the function: forward, or back to the head of a loop.
    pub fn is_structured(&self, from: usize, to: usize) -> bool {
        !self.is_back(from, to) || self.dominates(to, from)
    }

    fn dominates(&self, upper: usize, lower: usize) -> bool {
        let mut node = lower;
        while self.place[node] > self.place[upper] {
            node = self.dominator[node];
        }
        node == upper
    }
}

fn reverse_postorder(successors: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(successors.len());
    let mut is_seen = vec![false; successors.len()];
    let mut stack = vec![(0, 0)];
    is_seen[0] = true;
    while let Some((node, next)) = stack.pop() {
        match successors[node].get(next) {
            Some(&target) => {
                stack.push((node, next + 1));
                if !is_seen[target] {
                    is_seen[target] = true;
                    stack.push((target, 0));
                }
            }
            None => order.push(node),
        }
    }
    order.reverse();
    order
}

/// Immediate dominators, by the iterative algorithm on reverse postorder. Back edges that do not lead to a
/// dominator are no edges of the function, so they are left out until nothing changes.
fn dominators(successors: &[Vec<usize>], order: &[usize], place: &[usize]) -> Vec<usize> {
    const UNKNOWN: usize = usize::MAX;
    let mut predecessors = vec![Vec::new(); successors.len()];
    for &node in order {
        for &next in &successors[node] {
            // Only forward edges decide: a back edge to a dominator changes nothing, and another is cut.
            if place[next] > place[node] {
                predecessors[next].push(node);
            }
        }
    }
    let mut dominator = vec![UNKNOWN; successors.len()];
    dominator[order[0]] = order[0];
    for &node in &order[1..] {
        let mut meet = UNKNOWN;
        for &before in &predecessors[node] {
            meet = if meet == UNKNOWN { before } else { intersect(&dominator, place, meet, before) };
        }
        dominator[node] = meet;
    }
    dominator
}

fn intersect(dominator: &[usize], place: &[usize], mut left: usize, mut right: usize) -> usize {
    while left != right {
        if place[left] > place[right] {
            left = dominator[left];
        } else {
            right = dominator[right];
        }
    }
    left
}
