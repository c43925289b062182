//! Acknowledgements for the router, in the order it wants them.
//!
//! rumqttd's router ends a link whose acknowledgements come out of order, twice or unasked, and its thread can
//! die of what follows. Clients may mix the order of QoS 1 and QoS 2, so the gate puts it right first.

use std::collections::VecDeque;

/// Packet ids that wait for an answer of the client, oldest first.
#[derive(Debug)]
pub(crate) struct InOrder<Answer> {
    waiting: VecDeque<(u16, Option<Answer>)>,
}

impl<Answer> InOrder<Answer> {
    pub(crate) fn new() -> Self {
        Self { waiting: VecDeque::new() }
    }

    /// The packet `id` went out.
    pub(crate) fn sent(&mut self, id: u16) {
        self.waiting.push_back((id, None));
    }

    /// The client answered `id`. Answers to ids that do not wait are ignored.
    pub(crate) fn answered(&mut self, id: u16, answer: Answer) {
        let asked = self.waiting.iter_mut().find(|(waiting, held)| *waiting == id && held.is_none());
        if let Some((_, held)) = asked {
            *held = Some(answer);
        }
    }

    /// The next answer whose turn it is.
    pub(crate) fn next(&mut self) -> Option<Answer> {
        match self.waiting.front_mut() {
            Some((_, answer @ Some(_))) => {
                let answer = answer.take();
                self.waiting.pop_front();
                answer
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_out_in_the_order_of_the_questions() {
        let mut acks = InOrder::new();
        for id in [7, 8, 9] {
            acks.sent(id);
        }
        acks.answered(9, "nine");
        acks.answered(42, "never asked");
        assert_eq!(acks.next(), None);
        acks.answered(7, "seven");
        acks.answered(7, "twice");
        assert_eq!(acks.next(), Some("seven"));
        assert_eq!(acks.next(), None);
        acks.answered(8, "eight");
        assert_eq!([acks.next(), acks.next(), acks.next()], [Some("eight"), Some("nine"), None]);
    }
}
