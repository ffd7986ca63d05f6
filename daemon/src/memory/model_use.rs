//! How a server uses its model: what of its command line memory depends on.

use std::path::PathBuf;

/// The slots of a llama-server that is told no number. They then share one context.
const AUTO_SLOTS: u32 = 4;

/// The tokens that llama-server computes at a time, unless told otherwise.
const USUAL_UBATCH: u32 = 512;
const USUAL_BATCH: u32 = 2048;

/// How a server uses its model. The defaults are those of llama-server b11434.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelUse {
    /// Tokens of the context, for all slots together. None: as many as the model was trained for.
    pub ctx_size: Option<u32>,
    /// Slots. None: llama-server chooses, which it does by [`ModelUse::slots`].
    pub parallel: Option<u32>,
    /// Tokens of the context for each slot, which count only without `ctx_size`.
    pub ctx_per_slot: Option<u32>,
    /// Whether all slots use one buffer of keys and values. None: if `parallel` is not set.
    pub kv_unified: Option<bool>,
    /// Tokens that are computed at a time.
    pub ubatch: u32,
    /// What keys are kept as.
    pub cache_type_k: CacheType,
    /// What values are kept as.
    pub cache_type_v: CacheType,
    /// Whether layers with a sliding window keep the whole context as well.
    pub swa_full: bool,
    /// Whether attention is computed without the table of all weights: flash attention.
    pub flash_attention: bool,
    /// Whether keys and values are where their layers are.
    pub kv_offload: bool,
    /// Layers on devices.
    pub gpu_layers: GpuLayers,
    /// Which devices.
    pub devices: Devices,
    /// How the model is split over them.
    pub split_mode: SplitMode,
    /// In which proportions. Empty: by their memory.
    pub tensor_split: Vec<f64>,
    /// The index of the device that takes all if nothing is split.
    pub main_gpu: usize,
    /// Whether llama-server makes what is not set fit the devices.
    pub fits_itself: bool,
    /// Files that are loaded beside the model: a projector, adapters, a draft model.
    pub beside: Vec<PathBuf>,
}

/// How an element of keys or values is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheType {
    /// 32 bits.
    F32,
    /// 16 bits, also of the other form of them.
    F16,
    /// 8.5 bits.
    Q8_0,
    /// 6 bits.
    Q5_1,
    /// 5.5 bits.
    Q5_0,
    /// 5 bits.
    Q4_1,
    /// 4.5 bits, also of the other form of them.
    Q4_0,
}

/// How many layers are on devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuLayers {
    /// As many as fit.
    Auto,
    /// All of them.
    All,
    /// So many.
    Count(u32),
}

/// Which devices are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// All that there are.
    All,
    /// None.
    None,
    /// These, in this order.
    Named(Vec<String>),
}

/// How a model is split over devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitMode {
    /// It is on one device.
    None,
    /// By layers.
    Layer,
    /// Each layer by rows.
    Row,
    /// Each tensor.
    Tensor,
}

impl Default for ModelUse {
    fn default() -> Self {
        Self {
            ctx_size: None,
            parallel: None,
            ctx_per_slot: None,
            kv_unified: None,
            ubatch: USUAL_UBATCH,
            cache_type_k: CacheType::F16,
            cache_type_v: CacheType::F16,
            swa_full: false,
            flash_attention: true,
            kv_offload: true,
            gpu_layers: GpuLayers::Auto,
            devices: Devices::All,
            split_mode: SplitMode::Layer,
            tensor_split: Vec::new(),
            main_gpu: 0,
            fits_itself: true,
            beside: Vec::new(),
        }
    }
}

impl CacheType {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "f32" => Self::F32,
            "f16" | "bf16" => Self::F16,
            "q8_0" => Self::Q8_0,
            "q5_1" => Self::Q5_1,
            "q5_0" => Self::Q5_0,
            "q4_1" => Self::Q4_1,
            "q4_0" | "iq4_nl" => Self::Q4_0,
            _ => return None,
        })
    }

    /// Bits for one element, in tenths.
    pub fn tenth_bits(self) -> u32 {
        match self {
            Self::F32 => 320,
            Self::F16 => 160,
            Self::Q8_0 => 85,
            Self::Q5_1 => 60,
            Self::Q5_0 => 55,
            Self::Q4_1 => 50,
            Self::Q4_0 => 45,
        }
    }
}

impl ModelUse {
    /// What the arguments of a llama-server say, without the program's name. As there, the last of
    /// several counts. What cannot be understood is taken as not said: llama-server refuses it itself.
    pub fn from_arguments(arguments: &[String]) -> Self {
        let mut model_use = Self::default();
        let mut batch = USUAL_BATCH;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let flag = long_form(argument);
            if model_use.switch(&flag) {
                continue;
            }
            // The value of a flag that is not known here is looked at as if it were a flag. That it is
            // spelled like one of these is unlikely, and an estimate bears it.
            let value = || arguments.clone().next().map(String::as_str);
            let is_known = match (flag.as_str(), value()) {
                ("-b" | "--batch-size", Some(value)) => {
                    batch = number(value).unwrap_or(batch);
                    true
                }
                (flag, Some(value)) => model_use.value(flag, value),
                (_, None) => false,
            };
            if is_known {
                arguments.next();
            }
        }
        model_use.ubatch = model_use.ubatch.min(batch).max(1);
        model_use
    }

    /// Takes a flag without a value. False: it is not one that counts.
    fn switch(&mut self, flag: &str) -> bool {
        match flag {
            "-kvu" | "--kv-unified" => self.kv_unified = Some(true),
            "-no-kvu" | "--no-kv-unified" => self.kv_unified = Some(false),
            "-kvo" | "--kv-offload" => self.kv_offload = true,
            "-nkvo" | "--no-kv-offload" => self.kv_offload = false,
            "--swa-full" => self.swa_full = true,
            _ => return false,
        }
        true
    }

    /// Takes a flag and its value. False: it is not one that counts.
    fn value(&mut self, flag: &str, value: &str) -> bool {
        match flag {
            "-c" | "--ctx-size" => self.ctx_size = number(value).filter(|&tokens| tokens > 0),
            "-np" | "--parallel" => self.parallel = number(value).filter(|&slots| slots > 0),
            "--kv-unified-per-slot" => self.ctx_per_slot = number(value).filter(|&n| n > 0),
            "-ub" | "--ubatch-size" => self.ubatch = number(value).unwrap_or(self.ubatch),
            "-ctk" | "--cache-type-k" => {
                self.cache_type_k = CacheType::from_word(value).unwrap_or(self.cache_type_k);
            }
            "-ctv" | "--cache-type-v" => {
                self.cache_type_v = CacheType::from_word(value).unwrap_or(self.cache_type_v);
            }
            "-fa" | "--flash-attn" => self.flash_attention = !is_off(value),
            "-fit" | "--fit" => self.fits_itself = !is_off(value),
            "-ngl" | "--gpu-layers" | "--n-gpu-layers" => self.gpu_layers = gpu_layers(value),
            "-dev" | "--device" => self.devices = devices(value),
            "-sm" | "--split-mode" => self.split_mode = split_mode(value),
            "-ts" | "--tensor-split" => self.tensor_split = proportions(value),
            "-mg" | "--main-gpu" => self.main_gpu = number(value).unwrap_or(0) as usize,
            "-mm" | "--mmproj" | "-md" | "--model-draft" | "--spec-draft-model" => {
                self.beside.push(value.into());
            }
            "--lora" | "--control-vector" => {
                self.beside.extend(value.split(',').map(PathBuf::from));
            }
            _ => return false,
        }
        true
    }

    /// The number of slots.
    pub fn slots(&self) -> u32 {
        self.parallel.unwrap_or(AUTO_SLOTS)
    }

    /// Whether all slots use one buffer of keys and values.
    pub fn is_unified(&self) -> bool {
        self.kv_unified.unwrap_or(false) || self.parallel.is_none()
    }

    /// Whether llama-server may put on devices less than it would by its arguments.
    pub fn places_itself(&self) -> bool {
        self.fits_itself && self.gpu_layers == GpuLayers::Auto
    }
}

/// llama-server takes underscores for hyphens in long flags.
pub(super) fn long_form(flag: &str) -> String {
    match flag.starts_with("--") {
        true => flag.replace('_', "-"),
        false => flag.to_owned(),
    }
}

fn number(value: &str) -> Option<u32> {
    value.parse().ok()
}

fn is_off(value: &str) -> bool {
    matches!(value, "off" | "disabled" | "false" | "0")
}

fn gpu_layers(value: &str) -> GpuLayers {
    match value {
        "all" => GpuLayers::All,
        _ => number(value).map_or(GpuLayers::Auto, GpuLayers::Count),
    }
}

fn devices(value: &str) -> Devices {
    let names = value.split(',').filter(|name| !name.is_empty());
    match value {
        "none" => Devices::None,
        _ => Devices::Named(names.map(str::to_owned).collect()),
    }
}

fn split_mode(value: &str) -> SplitMode {
    match value {
        "none" => SplitMode::None,
        "row" => SplitMode::Row,
        "tensor" => SplitMode::Tensor,
        _ => SplitMode::Layer,
    }
}

fn proportions(value: &str) -> Vec<f64> {
    let numbers = value.split([',', '/']).map(|number| number.trim().parse());
    numbers
        .map(|number| number.unwrap_or(0.0))
        .map(|number: f64| {
            if number.is_finite() {
                number.max(0.0)
            } else {
                0.0
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> ModelUse {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        ModelUse::from_arguments(&words)
    }

    #[test]
    fn what_memory_depends_on_is_found_among_all_arguments() {
        let model_use = of(
            "--model m --alias a --port 1 --no-ui --ctx_size 4096 -np 2 -ctk q8_0 -ctv q4_0 -ub 64 -ngl 9 \
             --device A,B -sm none -ts 3,1 -mg 1 --lora x,y --mmproj p -fa off --swa-full",
        );
        let expected = ModelUse {
            ctx_size: Some(4096),
            parallel: Some(2),
            cache_type_k: CacheType::Q8_0,
            cache_type_v: CacheType::Q4_0,
            ubatch: 64,
            gpu_layers: GpuLayers::Count(9),
            devices: Devices::Named(vec!["A".into(), "B".into()]),
            split_mode: SplitMode::None,
            tensor_split: vec![3.0, 1.0],
            main_gpu: 1,
            beside: vec!["x".into(), "y".into(), "p".into()],
            flash_attention: false,
            swa_full: true,
            ..ModelUse::default()
        };
        assert_eq!(model_use, expected);
    }

    #[test]
    fn the_last_of_several_counts() {
        assert_eq!(of("-c 1 --ctx-size 2").ctx_size, Some(2));
        assert_eq!(of("-c 1 -c 0").ctx_size, None);
    }

    #[test]
    fn slots_share_a_buffer_if_their_number_is_left_to_llama_server() {
        assert!(of("").is_unified());
        assert_eq!(of("").slots(), 4);
        assert!(!of("-np 4").is_unified());
        assert!(of("-np 4 --kv-unified").is_unified());
    }

    #[test]
    fn what_makes_no_sense_is_left_to_llama_server_to_refuse() {
        let nonsense = of("-c -ctk x -ngl many -ts a,-1,inf -ub 0 -c");
        assert_eq!(nonsense.ubatch, 1);
        assert_eq!(nonsense.tensor_split, [0.0; 3]);
    }
}
