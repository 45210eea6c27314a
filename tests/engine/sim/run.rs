//! One seed: set up, let the processes loose, stop all faults, and see what is left.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ark_engine::{InitOptions, OpenOptions, Repository};
use futures::FutureExt;
use futures::future::{Either, select};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ending;
use super::network::{Network, Tally, Tampering};
use super::operations::Worker;
use super::process::{Moment, Process};
use super::rng::Rng;
use super::settings::Settings;
use super::world::{Done, World};
use crate::roundtrip::unlock;

/// No operation takes longer, in simulated time, whatever goes wrong: two prunes that wait for each other would.
const LONGEST: Duration = Duration::from_secs(48 * 3600);
/// The same for requests: two that go round each other would need more.
const MOST_REQUESTS: u64 = 20_000;
/// After this, no session without a living process counts as open, and no request is under way any more.
const QUIET: Duration = Duration::from_secs(4 * 3600);

/// What a seed gave.
#[derive(Clone, Debug)]
pub struct Ended {
    pub violation: Option<String>,
    pub trace: String,
    pub tally: Tally,
    pub done: Done,
}

/// Runs one seed.
pub fn run(seed: u64, tampering: Option<Tampering>, show: bool) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut rng = Rng::new(seed);
    let settings = Settings::choose(&mut rng, tampering).on_a_disk(seed);
    if show {
        eprintln!("{settings:#?}");
    }
    let states = settings.remembers.then(|| tempfile::tempdir().unwrap());
    let folder = states.as_ref().map(|folder| folder.path().to_owned());
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(simulate(settings, rng, folder, show))
    }));
    match ended {
        Ok(ended) => ended,
        Err(panic) => Ended {
            violation: Some(format!("it panicked: {}", text_of(&*panic))),
            trace: String::new(),
            tally: Tally::default(),
            done: Done::default(),
        },
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (_, Some(text)) => (*text).to_owned(),
        _ => "without a word".to_owned(),
    }
}

async fn simulate(settings: Settings, mut rng: Rng, folder: Option<PathBuf>, show: bool) -> Ended {
    let network = Network::new(rng.fork(), settings.weather.clone(), show);
    let world = Arc::new(World::new(settings, network.clone(), rng.fork()));
    let founder = start(&world, 0, (0, 0), rng.fork());
    Repository::init(
        founder.store(false),
        founder.env(),
        InitOptions { unlock: unlock() },
    )
    .await
    .unwrap();
    founder.end();
    network.begin();

    let mut slots = JoinSet::new();
    for number in 0..world.settings.slots {
        let (world, rng, folder) = (Arc::clone(&world), rng.fork(), folder.clone());
        slots.spawn(slot(world, number, rng, folder));
    }
    while let Some(ended) = slots.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            world.violated(format!("it panicked: {}", text_of(&*error.into_panic())));
        }
    }
    network.calm();
    if !world.is_violated() {
        sleep(QUIET).await;
        let last = start(&world, 0, (0, 0), rng.fork());
        let ending = AssertUnwindSafe(ending::check(&world, &last, rng.fork())).catch_unwind();
        match ending.await {
            Ok(Ok(())) => {}
            Ok(Err(what)) => world.violated(format!("at the end, {what}")),
            Err(panic) => world.violated(format!("it panicked: {}", text_of(&*panic))),
        }
    }
    let _ = world.is_violated();
    let model = world.model();
    Ended {
        violation: model.violation.clone(),
        trace: network.trace(),
        tally: network.state().tally.clone(),
        done: model.done.clone(),
    }
}

/// A process whose clock is wrong by so many ms, and may jump by so many.
fn start(world: &World, host: usize, clock: (i64, u64), rng: Rng) -> Arc<Process> {
    let number = {
        let mut model = world.model();
        model.processes += 1;
        model.processes
    };
    Process::start(world.network.clone(), number, host, clock, rng)
}

/// One place where processes run one after the other: each does some operations, and ends or dies.
async fn slot(world: Arc<World>, number: usize, mut rng: Rng, folder: Option<PathBuf>) {
    let host = number % world.settings.hosts;
    let state_dir = folder.map(|folder| folder.join(format!("h{host}")));
    loop {
        let skew = match world.settings.skew_ms {
            0 => 0,
            most => rng.between(0, 2 * most) as i64 - most as i64,
        };
        let clock = (skew, world.settings.skew_ms);
        let process = start(&world, host, clock, rng.fork());
        let mut worker = Worker {
            world: &world,
            process: Arc::clone(&process),
            rng: rng.fork(),
            repository: None,
            state_dir: state_dir.clone(),
        };
        for _ in 0..rng.between(1, 6) {
            sleep(Duration::from_millis(
                rng.spread(1, world.settings.think_ms),
            ))
            .await;
            {
                let mut model = world.model();
                if model.operations_left == 0 || model.violation.is_some() {
                    process.end();
                    return;
                }
                model.operations_left -= 1;
            }
            let kind = world.settings.kind(&mut rng);
            if rng.chance(world.settings.crashes) {
                let moment = *rng
                    .pick(&[Moment::Before, Moment::During, Moment::After])
                    .unwrap_or(&Moment::Before);
                process.crash_at(rng.spread(1, 80), moment);
            }
            let before = process.requests();
            let patience = match rng.chance(world.settings.cancels) {
                true => Duration::from_millis(rng.spread(1, 30 * 60_000)),
                false => LONGEST,
            };
            let outcome = {
                let operation = async {
                    let ended = timeout(patience, worker.perform(kind)).await.is_ok();
                    if !ended && patience < LONGEST {
                        world
                            .network
                            .note(&process.name, format_args!("cancels {kind:?}"));
                        world.model().done.cancelled += 1;
                        // Whether it succeeds is up to the network.
                        let _ = timeout(LONGEST, worker.clean_up()).await;
                    }
                    ended || patience < LONGEST
                };
                match select(Box::pin(operation), Box::pin(process.died())).await {
                    Either::Left((ended, _)) => Some(ended),
                    Either::Right(_) => None,
                }
            };
            process.survive();
            match outcome {
                Some(true) => {}
                Some(false) => world.violated(format!("{kind:?} did not end in {LONGEST:?}")),
                None => {
                    world.network.note(&process.name, format_args!("died"));
                    world.model().done.crashes += 1;
                    break;
                }
            }
            if process.requests() - before > MOST_REQUESTS {
                world.violated(format!(
                    "{kind:?} needed more than {MOST_REQUESTS} requests"
                ));
            }
        }
        drop(worker);
        process.end();
    }
}

/// Opens the repository for the checks at the end.
pub async fn open(process: &Arc<Process>) -> Result<Repository, ark_engine::Error> {
    let options = OpenOptions {
        memory: 8 << 20,
        ..OpenOptions::default()
    };
    Repository::open(process.store(true), process.env(), &unlock(), options).await
}
