//! Waiting for the server to end what an object asks for.
//!
//! Nothing depends on it: who stops waiting stops nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::cli::context::Context;
use crate::cli::error::{Error, Result};
use crate::cli::served::{Beat, Found, Kind, Pulse, Served};

/// The first pause between two looks; each further one is longer.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);
/// How often it is looked whether a server works.
const PULSE: Duration = Duration::from_secs(15);

/// Looks at the object until it has ended, or is gone. `shown` is the progress of one that has not.
pub async fn ended<K: Kind>(
    served: &Served,
    name: &str,
    context: &Context,
    has_ended: impl Fn(&K) -> bool,
    shown: impl Fn(&K) -> String,
) -> Result<Option<Found<K>>> {
    let progress = context.talk.progress(name);
    let mut pause = FIRST;
    let mut pulse = (Pulse::default(), Instant::now(), false);
    loop {
        let Some(found) = served.find_again::<K>(name).await? else {
            return Ok(None);
        };
        if has_ended(&found.object) {
            return Ok(Some(found));
        }
        progress.set(format!("{name}: {}", shown(&found.object)));
        if pulse.1.elapsed() >= PULSE {
            pulse.1 = Instant::now();
            let silent = matches!(pulse.0.beat(served).await, Ok(Beat::Still | Beat::Never));
            if silent && !pulse.2 {
                context.talk.note(&format!(
                    "no server answers in the namespace {}; {name} goes on when one does",
                    served.namespace()
                ));
            }
            pulse.2 = silent;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// As [`ended`]; Ctrl-C ends the waiting, and says with `hint` what that means. An object that is gone is an error.
pub async fn until<K: Kind>(
    served: &Served,
    name: &str,
    context: &Context,
    hint: &str,
    has_ended: impl Fn(&K) -> bool,
    shown: impl Fn(&K) -> String,
) -> Result<Found<K>> {
    let waiting = ended(served, name, context, has_ended, shown);
    match context.interrupt.unless(waiting).await {
        Ok(found) => found?.ok_or_else(|| Error::Refused {
            what: format!("the {} {name} is gone", K::kind(&())),
            why: vec!["somebody deleted the object".to_owned()],
        }),
        Err(interrupted) => {
            context.talk.note(hint);
            Err(interrupted.into())
        }
    }
}
