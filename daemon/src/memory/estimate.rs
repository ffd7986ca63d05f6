//! What a server needs of memory, from the header of its model.
//!
//! The weights are known. Keys and values are as many as the model has for a token, which its heads
//! determine, times the tokens that are kept. The buffers for computing follow from how many tokens are
//! computed at a time; what llama.cpp makes of them was compared with llama-fit-params b11434.

use super::breakdown::{Breakdown, Parts};
use super::devices::Device;
use super::model_use::{Devices, GpuLayers, ModelUse, SplitMode};
use crate::gguf::Facts;

/// The context of a model that does not say for which it was trained.
const USUAL_CONTEXT: u32 = 4096;

/// Contexts are multiples of so many tokens.
const PADDING: u64 = 256;

/// Numbers of four bytes that are kept for each token that is computed, in embeddings.
const ACTIVATIONS: u64 = 24;

/// Estimates what a server needs that uses a model in this way. `devices` are those that there are, in
/// the order in which llama-server lists them; without any, all is in main memory.
pub fn estimate(facts: &Facts, model_use: &ModelUse, devices: &[Device]) -> Breakdown {
    let whole = Whole::of(facts, model_use);
    let shares = shares(model_use, devices);
    let layers = layers_on_devices(facts, model_use);
    if shares.is_empty() || layers == 0 {
        return Breakdown {
            host: Parts {
                model: facts.tensor_bytes,
                context: whole.context,
                compute: whole.compute,
            },
            ..Breakdown::default()
        };
    }
    whole.split(facts, model_use, layers, &shares)
}

/// What all of it takes, wherever it is, in bytes.
struct Whole {
    context: u64,
    compute: u64,
    /// What is handed over for each computation.
    inputs: u64,
    /// The table of tokens, which no device takes.
    embeddings: u64,
}

impl Whole {
    fn of(facts: &Facts, model_use: &ModelUse) -> Self {
        let shape = &facts.shape;
        let ubatch = u64::from(model_use.ubatch);
        let tokens = tokens(facts, model_use);
        let mask = product(&[tokens, ubatch, 2]);
        let logits = product(&[ubatch, shape.vocabulary, 4]);
        let activations = product(&[ubatch, shape.embedding.into(), ACTIVATIONS, 4]);
        let weights_of_attention = match model_use.flash_attention {
            true => 0,
            false => product(&[tokens, ubatch, shape.heads.into(), 4]),
        };
        let table = product(&[
            shape.vocabulary,
            shape.embedding.into(),
            facts.milli_bits.into(),
        ]);
        Self {
            context: context(facts, model_use, tokens),
            compute: [mask, logits, activations, weights_of_attention]
                .into_iter()
                .fold(0, u64::saturating_add),
            inputs: mask.saturating_add(product(&[ubatch, shape.embedding.into(), 4])),
            embeddings: (table / 8000).min(facts.tensor_bytes),
        }
    }

    /// Splits it between main memory and devices, which get `layers` in these `shares`.
    fn split(
        &self,
        facts: &Facts,
        model_use: &ModelUse,
        layers: u32,
        shares: &[(String, f64)],
    ) -> Breakdown {
        // The last layer is that of the output.
        let of = u64::from(facts.shape.blocks) + 1;
        let part = |bytes: u64| share(bytes, f64::from(layers) / of as f64);
        let model = part(facts.tensor_bytes - self.embeddings);
        let context = match model_use.kv_offload {
            true => part(self.context),
            false => 0,
        };
        let devices = shares.iter().map(|(name, proportion)| {
            let parts = Parts {
                model: share(model, *proportion),
                context: share(context, *proportion),
                compute: self.compute,
            };
            (name.clone(), parts)
        });
        Breakdown {
            devices: devices.collect(),
            host: Parts {
                model: facts.tensor_bytes - model,
                context: self.context - context,
                compute: self.inputs,
            },
        }
    }
}

/// The tokens for which keys and values are kept, by all slots together.
fn tokens(facts: &Facts, model_use: &ModelUse) -> u64 {
    let slots = u64::from(model_use.slots());
    let trained = facts.context_length.unwrap_or(USUAL_CONTEXT);
    let wanted = match (model_use.ctx_size, model_use.ctx_per_slot) {
        (Some(tokens), _) => tokens.into(),
        (None, Some(tokens)) => slots.saturating_mul(tokens.into()),
        (None, None) => trained.into(),
    };
    match model_use.is_unified() {
        true => wanted.next_multiple_of(PADDING),
        false => (wanted / slots)
            .next_multiple_of(PADDING)
            .max(PADDING)
            .saturating_mul(slots),
    }
}

/// The bytes of keys and values.
fn context(facts: &Facts, model_use: &ModelUse, tokens: u64) -> u64 {
    let shape = &facts.shape;
    let keys = product(&[
        shape.keys_per_token,
        model_use.cache_type_k.tenth_bits().into(),
    ]);
    let values = product(&[
        shape.values_per_token,
        model_use.cache_type_v.tenth_bits().into(),
    ]);
    let token = keys.saturating_add(values);
    let Some((window, thousandths)) = shape.sliding_window.filter(|_| !model_use.swa_full) else {
        return product(&[token, tokens]) / 80;
    };
    let thousandths = u64::from(thousandths.min(1000));
    let looked_back = u64::from(window) + u64::from(model_use.ubatch);
    let kept = looked_back
        .next_multiple_of(PADDING)
        .saturating_mul(model_use.slots().into());
    let all = product(&[token, tokens, 1000 - thousandths]) / 80_000;
    let windows = product(&[token, kept.min(tokens), thousandths]) / 80_000;
    all.saturating_add(windows)
}

/// How many layers are on devices, with that of the output.
fn layers_on_devices(facts: &Facts, model_use: &ModelUse) -> u32 {
    let all = facts.shape.blocks.saturating_add(1);
    match model_use.gpu_layers {
        GpuLayers::Auto | GpuLayers::All => all,
        GpuLayers::Count(count) => count.min(all),
    }
}

/// Which devices are used, and which part of it each gets: together 1.
fn shares(model_use: &ModelUse, devices: &[Device]) -> Vec<(String, f64)> {
    let total = |name: &str| {
        let device = devices.iter().find(|device| device.name == name);
        device.map_or(1.0, |device| device.total as f64)
    };
    let names: Vec<String> = match &model_use.devices {
        Devices::None => return Vec::new(),
        Devices::All => devices.iter().map(|device| device.name.clone()).collect(),
        Devices::Named(names) => names.clone(),
    };
    if model_use.split_mode == SplitMode::None {
        let main = names.into_iter().nth(model_use.main_gpu);
        return main.map(|name| (name, 1.0)).into_iter().collect();
    }
    let proportion = |(index, name): (usize, &String)| match model_use.tensor_split.as_slice() {
        [] => total(name),
        split => split.get(index).copied().unwrap_or(0.0),
    };
    let mut proportions: Vec<f64> = names.iter().enumerate().map(proportion).collect();
    if proportions.iter().sum::<f64>() <= 0.0 {
        proportions = vec![1.0; names.len()];
    }
    let sum: f64 = proportions.iter().sum();
    let shares = names.into_iter().zip(proportions);
    shares
        .filter(|(_, proportion)| *proportion > 0.0)
        .map(|(name, proportion)| (name, proportion / sum))
        .collect()
}

/// A part of `bytes`, rounded up, and never more than all of it.
fn share(bytes: u64, part: f64) -> u64 {
    ((bytes as f64 * part).ceil() as u64).min(bytes)
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().copied().fold(1, u64::saturating_mul)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gguf::{Basis, Guess, Kind, Role, Shape};
    use crate::memory::breakdown::Beside;
    use crate::memory::demand::{Demand, Source};
    use crate::memory::model_use::CacheType;

    const MIB: u64 = 1 << 20;

    fn guess<T>(value: T) -> Guess<T> {
        let basis = Basis::Metadata;
        Guess { value, basis }
    }

    fn facts(tensor_bytes: u64, shape: Shape) -> Facts {
        Facts {
            role: Role::Model,
            architecture: "llama".to_owned(),
            name: None,
            kind: guess(Kind::Chat),
            quantization: guess("F32".to_owned()),
            milli_bits: 32_000,
            parameters: tensor_bytes / 4,
            thinking: guess(false),
            context_length: Some(65_536),
            tensor_bytes,
            shape,
            split: None,
        }
    }

    /// Four layers of 16 heads, as the slow model of the tests has.
    fn slow() -> Facts {
        let shape = Shape {
            blocks: 4,
            embedding: 1024,
            heads: 16,
            keys_per_token: 4096,
            values_per_token: 4096,
            vocabulary: 260,
            sliding_window: None,
            ..Shape::default()
        };
        facts(258 * MIB, shape)
    }

    fn with(line: &str) -> ModelUse {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        ModelUse::from_arguments(&words)
    }

    fn estimated(line: &str) -> Breakdown {
        estimate(&slow(), &with(line), &[])
    }

    fn device(name: &str, total: u64) -> Device {
        let name = name.to_owned();
        Device { name, total }
    }

    /// What llama-fit-params b11434 printed for that model.
    #[test]
    fn an_estimate_is_near_to_what_llama_cpp_says() {
        for (line, context, compute) in [
            ("-c 2048 -np 1", 32, 36),
            ("-c 8192 -np 1", 128, 42),
            ("-c 0 -np 1", 1024, 98),
        ] {
            let Parts {
                model,
                context: kept,
                compute: buffers,
            } = estimated(line).host;
            assert_eq!((model / MIB, kept / MIB), (258, context), "{line}");
            assert!(
                (compute..compute + 32).contains(&(buffers / MIB)),
                "{line}: {buffers}"
            );
        }
    }

    #[test]
    fn smaller_types_make_a_smaller_context() {
        let context = |line| estimated(line).host.context;
        assert_eq!(
            context("-c 8192 -ctk q8_0 -ctv q8_0"),
            context("-c 8192") * 85 / 160
        );
    }

    #[test]
    fn slots_share_the_context() {
        let context = |line| estimated(line).host.context;
        assert_eq!(context("-c 8192 -np 4"), context("-c 8192 -np 1"));
        assert_eq!(
            context("-np 2 --kv-unified-per-slot 1024"),
            context("-c 2048 -np 1")
        );
    }

    #[test]
    fn layers_with_a_sliding_window_keep_what_they_look_back() {
        let mut gemma = slow();
        gemma.shape.sliding_window = Some((512, 500));
        let context = |line| estimate(&gemma, &with(line), &[]).host.context;
        assert_eq!(context("-c 65536 -np 1"), 512 * MIB + 8 * MIB);
        assert_eq!(context("-c 65536 -np 1 --swa-full"), 1024 * MIB);
    }

    #[test]
    fn layers_go_to_the_devices_that_are_used() {
        let devices = [device("CUDA0", 3), device("CUDA1", 1)];
        let on = |line| estimate(&slow(), &with(line), &devices);
        let both = on("-c 4096");
        assert_eq!(both.devices["CUDA0"].context, 48 * MIB);
        assert_eq!(both.devices["CUDA1"].context, 16 * MIB);
        assert_eq!(on("-c 4096 -ts 1,1").devices["CUDA1"].context, 32 * MIB);
        assert_eq!(
            on("-c 4096 -sm none -mg 1").devices["CUDA1"].context,
            64 * MIB
        );
        assert_eq!(on("-c 4096 --device CUDA1").devices.len(), 1);
        assert_eq!(on("-c 4096 --device none"), on("-c 4096 -ngl 0"));
        assert!(on("-c 4096 -nkvo").devices["CUDA0"].context == 0);
        let some = on("-c 4096 -ngl 2 --device CUDA0");
        assert!(some.host.model > 150 * MIB && some.devices["CUDA0"].model > 100 * MIB);
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let window = proptest::option::of((any::<u32>(), any::<u32>()));
        let numbers = (
            any::<u32>(),
            any::<u32>(),
            any::<u32>(),
            any::<u64>(),
            any::<u64>(),
        );
        (numbers, any::<u64>(), window).prop_map(|(numbers, vocabulary, sliding_window)| Shape {
            blocks: numbers.0,
            embedding: numbers.1,
            heads: numbers.2,
            keys_per_token: numbers.3,
            values_per_token: numbers.4,
            vocabulary,
            sliding_window,
            ..Shape::default()
        })
    }

    fn uses() -> impl Strategy<Value = ModelUse> {
        let layers = prop_oneof![
            Just(GpuLayers::Auto),
            Just(GpuLayers::All),
            any::<u32>().prop_map(GpuLayers::Count)
        ];
        let numbers = (
            proptest::option::of(1..=u32::MAX),
            proptest::option::of(1..=u32::MAX),
            proptest::option::of(1..=u32::MAX),
            1..=u32::MAX,
        );
        let switches = (any::<bool>(), any::<bool>(), any::<bool>());
        let split = proptest::collection::vec(0.0..1e300, 0..3);
        (numbers, switches, layers, split).prop_map(
            |(numbers, switches, gpu_layers, tensor_split)| ModelUse {
                ctx_size: numbers.0,
                parallel: numbers.1,
                ctx_per_slot: numbers.2,
                ubatch: numbers.3,
                swa_full: switches.0,
                flash_attention: switches.1,
                kv_offload: switches.2,
                cache_type_k: CacheType::F32,
                gpu_layers,
                tensor_split,
                ..ModelUse::default()
            },
        )
    }

    fn demand(breakdown: &Breakdown, tensors: u64) -> Demand {
        let beside = Beside {
            tensors,
            ..Beside::default()
        };
        breakdown.demand(Source::Estimate, &beside, None)
    }

    proptest! {
        #[test]
        fn a_larger_context_never_needs_less(shape in shapes(), model_use in uses(), less in any::<u32>(), more in any::<u32>()) {
            let facts = facts(1 << 30, shape);
            let needs = |tokens: u32| {
                let model_use = ModelUse { ctx_size: Some(tokens), ..model_use.clone() };
                demand(&estimate(&facts, &model_use, &[]), 1 << 30).ram
            };
            prop_assert!(needs(less.min(more)) <= needs(less.max(more)));
        }

        #[test]
        fn a_demand_is_never_below_the_weights(shape in shapes(), model_use in uses(), tensors in any::<u64>(), count in 0..3_usize) {
            let devices = &[device("A", 1), device("B", u64::MAX)][..count.min(2)];
            let facts = facts(tensors, shape);
            let demand = demand(&estimate(&facts, &model_use, devices), tensors);
            let all = demand.devices.values().fold(demand.ram, |sum, &bytes| sum.saturating_add(bytes));
            prop_assert!(all >= tensors);
        }
    }
}
