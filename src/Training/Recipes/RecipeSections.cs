using Bellman.Training.Data;
using Bellman.Training.Optimizers;

namespace Bellman.Training.Recipes;

/// <summary>Section <c>model</c>: folders of the models.</summary>
public sealed record ModelRecipe
{
    internal ModelRecipe(RecipeValues values)
    {
        Policy = values.Text("model.policy");
        Reference = values.OptionalText("model.reference");
        Value = values.OptionalText("model.value");
    }

    /// <summary>Model folder that training starts from.</summary>
    public string Policy { get; }

    /// <summary>Frozen reference policy; null for the policy as it was at the start.</summary>
    public string? Reference { get; }

    /// <summary>Value model folder; null for the policy's weights with a zero value head.</summary>
    public string? Value { get; }
}

/// <summary>Section <c>data</c>: files, their fields, and what becomes of unusable lines.</summary>
public sealed record DataRecipe
{
    internal DataRecipe(RecipeValues values)
    {
        Train = values.Texts("data.train");
        Validation = values.OptionalText("data.validation");
        Format = values.Choice<DataFormat>("data.format");
        Fields = new FieldNames
        {
            Prompt = values.Text("data.fields.prompt"),
            Response = values.Text("data.fields.response"),
            Reward = values.Text("data.fields.reward"),
            Label = values.Text("data.fields.label"),
            Messages = values.Text("data.fields.messages"),
            Chosen = values.Text("data.fields.chosen"),
            Rejected = values.Text("data.fields.rejected"),
            Group = values.Text("data.fields.group"),
            Finished = values.Text("data.fields.finished"),
            PromptIds = values.Text("data.fields.prompt_ids"),
            ResponseIds = values.Text("data.fields.response_ids"),
        };
        PromptTemplate = values.Text("data.prompt_template");
        PromptMessages = values.Integer("data.prompt_messages");
        MaxLength = values.Integer("data.max_length");
        Overlong = values.Choice<DropPolicy>("data.overlong");
        Empty = values.Choice<DropPolicy>("data.empty");
        Deduplicate = values.Flag("data.deduplicate");
        Limit = values.Integer("data.limit");
        RewardRange = values.OptionalPair("data.reward_range") is [var least, var most] ? (least, most) : null;
        Evaluation = values.OptionalText("data.evaluation");
        AllowOverlap = values.Flag("data.allow_overlap");
        RightAt = values.Number("data.right_at");
        Selection = new SelectionRule
        {
            MostSamples = values.Integer("data.samples_per_question"),
            MostRight = values.Integer("data.right_per_question"),
            MostWrong = values.Integer("data.wrong_per_question"),
            RightNeedWrong = values.Flag("data.right_need_wrong"),
        };
        StepDelimiter = values.Choice<StepDelimiter>("data.step_delimiter");
        StateLevel = values.Choice<StateLevel>("data.state_level");
    }

    /// <summary>Training files.</summary>
    public IReadOnlyList<string> Train { get; }

    /// <summary>Validation file, or null.</summary>
    public string? Validation { get; }

    /// <summary>Form of the lines.</summary>
    public DataFormat Format { get; }

    /// <summary>Names of the fields.</summary>
    public FieldNames Fields { get; }

    /// <summary>Text around the prompt, with <c>{prompt}</c> in it.</summary>
    public string PromptTemplate { get; }

    /// <summary>Leading turns of a conversation that are prompt only.</summary>
    public int PromptMessages { get; }

    /// <summary>Longest trajectory in tokens.</summary>
    public int MaxLength { get; }

    /// <summary>What happens to longer or unfinished trajectories.</summary>
    public DropPolicy Overlong { get; }

    /// <summary>What happens to empty responses.</summary>
    public DropPolicy Empty { get; }

    /// <summary>Whether equal trajectories are kept once.</summary>
    public bool Deduplicate { get; }

    /// <summary>Lines read of each file; 0 for all.</summary>
    public int Limit { get; }

    /// <summary>Smallest and largest reward, or null for any.</summary>
    public (double Least, double Most)? RewardRange { get; }

    /// <summary>File of evaluation problems, or null.</summary>
    public string? Evaluation { get; }

    /// <summary>Whether questions of validation and evaluation may be trained on.</summary>
    public bool AllowOverlap { get; }

    /// <summary>Responses with at least this reward count as right.</summary>
    public double RightAt { get; }

    /// <summary>Which responses of a question are used.</summary>
    public SelectionRule Selection { get; }

    /// <summary>What ends a step.</summary>
    public StepDelimiter StepDelimiter { get; }

    /// <summary>Which positions are states.</summary>
    public StateLevel StateLevel { get; }
}

/// <summary>Section <c>train</c>: length, batches, optimisers, bookkeeping.</summary>
public sealed record TrainRecipe
{
    internal TrainRecipe(RecipeValues values)
    {
        Epochs = values.Integer("train.epochs");
        Steps = values.Long("train.steps");
        BatchSize = values.Integer("train.batch_size");
        MaxTokensPerMicroBatch = values.Integer("train.max_tokens_per_micro_batch");
        Recompute = values.Flag("train.recompute");
        PolicyLearningRate = values.Number("train.policy_lr");
        ValueLearningRate = values.Number("train.value_lr");
        Schedule = values.Choice<ScheduleShape>("train.schedule");
        WarmupSteps = values.Integer("train.warmup_steps");
        MinLearningRateRatio = values.Number("train.min_lr_ratio");
        WeightDecay = values.Number("train.weight_decay");
        (Beta1, Beta2) = (values.Pair("train.betas")[0], values.Pair("train.betas")[1]);
        Epsilon = values.Number("train.epsilon");
        ClipNorm = values.Number("train.clip_norm");
        CheckpointEvery = values.Integer("train.checkpoint_every");
        KeepCheckpoints = values.Integer("train.keep_checkpoints");
        LogEvery = values.Integer("train.log_every");
        ValidateEvery = values.Integer("train.validate_every");
    }

    /// <summary>Passes over the data; counts only while <see cref="Steps"/> is 0.</summary>
    public int Epochs { get; }

    /// <summary>Updates to make; 0 leaves it to <see cref="Epochs"/>.</summary>
    public long Steps { get; }

    /// <summary>Trajectories (or pairs) of one update.</summary>
    public int BatchSize { get; }

    /// <summary>Tokens computed at once.</summary>
    public int MaxTokensPerMicroBatch { get; }

    /// <summary>Whether backwards compute activations again instead of keeping them.</summary>
    public bool Recompute { get; }

    /// <summary>Largest learning rate of the policy.</summary>
    public double PolicyLearningRate { get; }

    /// <summary>Largest learning rate of the value model.</summary>
    public double ValueLearningRate { get; }

    /// <summary>Course of the learning rates.</summary>
    public ScheduleShape Schedule { get; }

    /// <summary>Updates over which the learning rates rise.</summary>
    public int WarmupSteps { get; }

    /// <summary>Smallest learning rate as a share of the largest.</summary>
    public double MinLearningRateRatio { get; }

    /// <summary>Decoupled weight decay.</summary>
    public double WeightDecay { get; }

    /// <summary>AdamW's factor for the mean.</summary>
    public double Beta1 { get; }

    /// <summary>AdamW's factor for the square.</summary>
    public double Beta2 { get; }

    /// <summary>AdamW's epsilon.</summary>
    public double Epsilon { get; }

    /// <summary>Largest gradient norm; 0 never clips.</summary>
    public double ClipNorm { get; }

    /// <summary>Updates between checkpoints; 0 for none before the end.</summary>
    public int CheckpointEvery { get; }

    /// <summary>Checkpoints kept.</summary>
    public int KeepCheckpoints { get; }

    /// <summary>Updates between two lines of metrics.</summary>
    public int LogEvery { get; }

    /// <summary>Updates between validations; 0 for one at the end.</summary>
    public int ValidateEvery { get; }
}
