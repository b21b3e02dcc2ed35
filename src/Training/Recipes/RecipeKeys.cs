using Bellman.Kernels;

namespace Bellman.Training.Recipes;

/// <summary>Every key that a recipe may hold, in the order in which recipes are written.</summary>
internal static class RecipeKeys
{
    private static readonly string[] Oreo = ["oreo"], Dpo = ["dpo"], Kto = ["kto"], Rejection = ["rejection"];
    private static readonly string[] WithValue = ["oreo", "dqo"], WithReference = ["oreo", "dqo", "dpo", "kto"], Labelled = ["dpo", "kto", "oreo", "dqo"];

    /// <summary>The table.</summary>
    public static IReadOnlyList<RecipeKey> All { get; } =
    [
        Choice("objective", null, ["sft", "rejection", "dpo", "kto", "dqo", "oreo"], "What is trained: imitation, imitation of the correct responses only, two preference methods, DQO, or OREO."),
        Integer("seed", "0", Bounds.NotNegative, "Seed of everything random; the same seed gives the same run."),
        Text("out", null, "Run folder. It must be new, or hold an interrupted run of this recipe that is resumed."),
        Choice("device", "auto", [.. DeviceSelection.Names], "Where to compute; auto takes an NVIDIA GPU if there is one that can be used. simulator runs the GPU's kernels on the CPU, for their authors."),
        Integer("threads", "0", Bounds.NotNegative, "CPU threads; 0 means one for each core."),

        Text("model.policy", null, "Model folder that training starts from."),
        Text("model.reference", "", "Frozen reference policy; without it, the policy as it was at the start.", WithReference),
        Text("model.value", "", "Value model folder; without it, the policy's weights with a zero value head.", WithValue),

        new("data.train", KeyKind.Texts, null, "Training file, or a list of files (JSONL)."),
        Text("data.validation", "", "File whose loss is measured now and then."),
        Choice("data.format", "auto", ["auto", "response", "messages", "preferences", "gsm8k", "math"], "Form of the lines; auto looks at the first one of each file."),
        Text("data.fields.prompt", "prompt", "Field with the prompt."),
        Text("data.fields.response", "response", "Field with the response."),
        Text("data.fields.reward", "reward", "Field with the reward: a number, or true and false for 1 and 0."),
        Text("data.fields.label", "label", "Field with KTO's verdict (true, false, 1, 0); read as the reward where there is none."),
        Text("data.fields.messages", "messages", "Field with the list of turns; `conversations` is understood too."),
        Text("data.fields.chosen", "chosen", "Field with the preferred response of a pair."),
        Text("data.fields.rejected", "rejected", "Field with the other response of a pair."),
        Text("data.fields.group", "group", "Optional field with the question's key; without it the prompt is the key."),
        Text("data.fields.finished", "finished", "Optional field: false marks a response that was cut."),
        Text("data.fields.prompt_ids", "prompt_ids", "Optional field with the prompt's token ids, as rollouts write them."),
        Text("data.fields.response_ids", "response_ids", "Optional field with the response's token ids."),
        Text("data.prompt_template", "{prompt}", "Text around the prompt; `{prompt}` stands for it. Not used for conversations and token ids."),
        Integer("data.prompt_messages", "0", Bounds.NotNegative, "Leading turns of a conversation that are prompt only, even those of the assistant (ALFWorld: 2)."),
        Integer("data.max_length", "2048", new Bounds(2, false, double.PositiveInfinity, true), "Longest trajectory in tokens, prompt and end token included."),
        Choice("data.overlong", "drop", ["drop", "refuse"], "What happens to longer or unfinished trajectories: dropped and counted, or an error. Nothing is ever cut."),
        Choice("data.empty", "refuse", ["drop", "refuse"], "What happens to empty responses: dropped and counted, or an error."),
        new("data.deduplicate", KeyKind.Flag, "false", "Keep only the first of equal trajectories.") { DefaultBy = ("objective", Map(("rejection", "true"))) },
        Integer("data.limit", "0", Bounds.NotNegative, "Read only that many lines of each file; 0 reads all."),
        new("data.reward_range", KeyKind.Pair, "", "Smallest and largest reward, as in `[0, 1]`; a reward outside is an error."),
        Text("data.evaluation", "", "File of evaluation problems (a prompt, question or problem a line), none of which may be trained on."),
        new("data.allow_overlap", KeyKind.Flag, "false", "Train even on questions of data.validation and data.evaluation, which are otherwise refused."),
        Number("data.right_at", "0.5", Bounds.Any, "Responses with at least this reward count as right.", Labelled),
        Integer("data.samples_per_question", "0", Bounds.NotNegative, "Use only the first so many responses to each question; 0 uses all.", Labelled),
        Integer("data.right_per_question", "0", Bounds.NotNegative, "Most right responses kept of each question, drawn at random; 0 keeps all.", Labelled),
        Integer("data.wrong_per_question", "0", Bounds.NotNegative, "Most wrong responses kept of each question, drawn at random; 0 keeps all.", Labelled),
        new("data.right_need_wrong", KeyKind.Flag, "false", "Keep no more right responses of a question than wrong ones, but at least one where there is any.") { Objectives = Labelled },
        Choice("data.step_delimiter", "line_break", ["line_break", "line_break_or_period", "agent_turn"], "What ends a step: a line break; also a period and a space (MATH); or nothing inside an assistant turn.", WithValue),
        Choice("data.state_level", "token", ["token", "step", "response"], "Which positions count as states; follows oreo.level unless that is single_step.", WithValue) with
        {
            DefaultBy = ("oreo.level", Map(("step", "step"), ("response", "response"))),
        },

        Integer("train.epochs", "1", Bounds.FromOne, "Passes over the data; not together with train.steps.") with { DefaultBy = ("objective", Map(("sft", "3"))) },
        Integer("train.steps", "0", Bounds.NotNegative, "Updates to make; 0 means that train.epochs decides."),
        Integer("train.batch_size", "128", Bounds.FromOne, "Trajectories of one update (for dpo: pairs)."),
        Integer("train.max_tokens_per_micro_batch", "8192", Bounds.FromOne, "Tokens computed at once; a batch is split accordingly, with equal results."),
        new("train.recompute", KeyKind.Flag, "false", "Keep only the input of each block and compute its activations again in the backward: less memory, more time, the same numbers to the last bit."),
        Number("train.policy_lr", "5e-6", Bounds.Positive, "Largest learning rate of the policy.") with
        {
            DefaultBy = ("objective", Map(("sft", "2e-5"), ("dpo", "5e-7"), ("kto", "5e-8"))),
        },
        Number("train.value_lr", "5e-6", Bounds.Positive, "Largest learning rate of the value model.", WithValue),
        Choice("train.schedule", "cosine", ["cosine", "linear", "constant"], "Course of the learning rates after the warm-up."),
        Integer("train.warmup_steps", "0", Bounds.NotNegative, "Updates over which the learning rates rise from 0."),
        Number("train.min_lr_ratio", "0.1", Bounds.ToOne, "Where cosine and linear end, as a share of the largest learning rate."),
        Number("train.weight_decay", "0", Bounds.NotNegative, "Decoupled weight decay; biases and norm weights have none."),
        new("train.betas", KeyKind.Pair, "[0.9, 0.95]", "AdamW's averaging factors.") { Bounds = Bounds.BelowOne },
        Number("train.epsilon", "1e-8", Bounds.Positive, "AdamW's epsilon, added outside the square root."),
        Number("train.clip_norm", "1", Bounds.NotNegative, "Largest gradient norm of each model; 0 never clips."),
        Integer("train.checkpoint_every", "100", Bounds.NotNegative, "Updates between checkpoints; 0 keeps only the end."),
        Integer("train.keep_checkpoints", "2", Bounds.FromOne, "Checkpoints kept; older ones are deleted."),
        Integer("train.log_every", "1", Bounds.FromOne, "Updates between two lines of metrics."),
        Integer("train.validate_every", "0", Bounds.NotNegative, "Updates between measurements on data.validation; 0 measures at the end only."),

        Number("rejection.min_reward", "1", Bounds.Any, "Trajectories with at least this reward are imitated.", Rejection),

        Number("dpo.beta", "0.1", Bounds.Positive, "Strength of the tie to the reference.", Dpo),
        Choice("dpo.loss", "sigmoid", ["sigmoid", "ipo"], "Shape of the loss.", Dpo),
        Number("dpo.label_smoothing", "0", new Bounds(0, false, 0.5, true), "Probability that a preference is the wrong way round.", Dpo),
        new("dpo.length_normalised", KeyKind.Flag, "false", "Whether a response's log-ratio is divided by its number of tokens.") { Objectives = Dpo },
        Number("dpo.sft_weight", "0", Bounds.NotNegative, "Weight of imitating the chosen response (mean over its tokens) beside the preference.", Dpo),
        Integer("dpo.pairs_per_question", "6", Bounds.FromOne, "Most pairs built from the scored responses to one question.", Dpo),

        Number("kto.beta", "0.1", Bounds.Positive, "Strength of the tie to the reference.", Kto),
        Number("kto.desirable_weight", "1", Bounds.NotNegative, "Weight of right responses.", Kto),
        Number("kto.undesirable_weight", "1", Bounds.NotNegative, "Weight of wrong responses.", Kto),
        Choice("kto.baseline", "mismatched", ["mismatched", "other_side"], "Where the KL baseline comes from: the batch's prompts with responses of other questions, or the batch's other side.", Kto),

        Choice("oreo.level", "token", ["token", "step", "response", "single_step"], "Form of the policy loss: the action is a token, a step or the response; or the one-step consistency (ablation).", Oreo),
        Number("oreo.beta", "0.03", Bounds.Positive, "Strength of the KL term in the soft Bellman equation, β.", WithValue),
        Number("oreo.alpha", "0.01", Bounds.NotNegative, "Weight of the KL regulariser, α; the start value with oreo.target_kl.", Oreo) with
        {
            DefaultBy = ("oreo.level", Map(("step", "0.1"), ("response", "0.3"))),
        },
        Choice("oreo.kl", "full", ["full", "forward", "sampled"], "The regulariser: KL over the whole vocabulary, the same from the reference's side, or the estimate from the sampled token.", Oreo),
        Number("oreo.clip_log", "", Bounds.Positive, "Clips the accumulated log-ratio inside the value loss to ± this.", Oreo),
        Number("oreo.ema", "0", Bounds.BelowOne, "Decay of an averaged policy that supplies the accumulated log-ratio; 0 uses the policy itself.", Oreo),
        Integer("oreo.freeze_policy_steps", "0", Bounds.NotNegative, "First updates in which only the value model learns.", Oreo),
        Number("oreo.target_kl", "", Bounds.Positive, "KL to steer to by learning α.", Oreo),
        Number("oreo.kl_coefficient_lr", "1e-3", Bounds.Positive, "Learning rate of log α; used with oreo.target_kl.", Oreo),
        Choice("oreo.importance_weights", "none", ["none", "per_sequence", "per_state"], "Weights exp(min(1, log-ratio of the trajectory)), on the mean of each trajectory or on every state of the batch.", Oreo),
        Number("oreo.hinge", "0", Bounds.NotNegative, "Weight of a hinge that keeps correct responses at least as likely as under the reference; response level only.", Oreo),
        Number("oreo.reward_scale", "1", Bounds.Any, "The reward is scale · reward + shift.", WithValue),
        Number("oreo.reward_shift", "0", Bounds.Any, "See oreo.reward_scale.", WithValue),
        Choice("oreo.reference_cache", "off", ["off", "logprobs"], "Whether the reference's log-probs are computed once and kept; only with oreo.kl sampled.", Oreo),

        Text("iterate.problems", "", "`bellman iterate` only, as all keys of this section: file of the problems that each round samples."),
        Choice("iterate.format", "gsm8k", [.. Jobs.ProblemFile.Formats], "Form of both problem files, and how answers are graded."),
        Choice("iterate.grader", "gsm8k", ["gsm8k", "math"], "How format jsonl is graded."),
        Integer("iterate.limit", "0", Bounds.NotNegative, "Sample only the first problems; 0 takes all."),
        Integer("iterate.rounds", "3", Bounds.FromOne, "Rounds of sampling with the current policy, training and evaluating."),
        Integer("iterate.samples", "10", Bounds.FromOne, "Samples of each problem."),
        Number("iterate.temperature", "1", Bounds.Positive, "Temperature of the samples."),
        Integer("iterate.max_tokens", "512", Bounds.FromOne, "Longest answer in tokens, sampled or evaluated."),
        Choice("iterate.value_start", "previous", ["previous", "policy"], "Where the value model of a later round starts: from the previous one, or from the policy with a zero head."),
        Text("iterate.eval_problems", "", "File of the problems that the policy answers before the first and after every round; none of them may be sampled."),
        Integer("iterate.eval_limit", "0", Bounds.NotNegative, "Answer only the first of them; 0 takes all."),
        Integer("iterate.eval_width", "0", Bounds.NotNegative, "Also answer with step beam search of this width where there is a value model; 0 for greedy answers only."),
        Number("iterate.eval_temperature", "0.5", Bounds.Positive, "Temperature of that search's draws: at 1 small models draw steps that the value model has never seen, and overrates."),
    ];

    /// <summary>The table by name.</summary>
    public static IReadOnlyDictionary<string, RecipeKey> ByName { get; } = All.ToDictionary(x => x.Name, StringComparer.Ordinal);

    /// <summary>The table for the reader.</summary>
    public static KeyTable Table { get; } = new(All, "docs/recipes.md");

    /// <summary>The table as Markdown, the body of docs/recipes.md.</summary>
    public static string Markdown() => Table.Markdown();

    private static RecipeKey Text(string name, string? fallback, string help, string[]? objectives = null) => new(name, KeyKind.Text, fallback, help) { Objectives = objectives };

    private static RecipeKey Integer(string name, string fallback, Bounds bounds, string help, string[]? objectives = null) =>
        new(name, KeyKind.Integer, fallback, help) { Bounds = bounds, Objectives = objectives };

    private static RecipeKey Number(string name, string fallback, Bounds bounds, string help, string[]? objectives = null) =>
        new(name, KeyKind.Number, fallback, help) { Bounds = bounds, Objectives = objectives };

    private static RecipeKey Choice(string name, string? fallback, string[] choices, string help, string[]? objectives = null) =>
        new(name, KeyKind.Choice, fallback, help) { Choices = choices, Objectives = objectives };

    private static Dictionary<string, string> Map(params (string Value, string Default)[] entries) => entries.ToDictionary(x => x.Value, x => x.Default);
}
