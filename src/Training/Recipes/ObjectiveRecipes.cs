using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Training.Trainers;

namespace Bellman.Training.Recipes;

/// <summary>Section <c>rejection</c>.</summary>
public sealed record RejectionRecipe
{
    internal RejectionRecipe(RecipeValues values) => MinReward = values.Number("rejection.min_reward");

    /// <summary>Trajectories with at least this reward are imitated.</summary>
    public double MinReward { get; }
}

/// <summary>Section <c>dpo</c>.</summary>
public sealed record DpoRecipe
{
    internal DpoRecipe(RecipeValues values)
    {
        Beta = values.Number("dpo.beta");
        Loss = values.Choice<PairLossForm>("dpo.loss");
        LabelSmoothing = values.Number("dpo.label_smoothing");
        LengthNormalised = values.Flag("dpo.length_normalised");
        SftWeight = values.Number("dpo.sft_weight");
        PairsPerQuestion = values.Integer("dpo.pairs_per_question");
    }

    /// <summary>Strength of the tie to the reference.</summary>
    public double Beta { get; }

    /// <summary>Shape of the loss.</summary>
    public PairLossForm Loss { get; }

    /// <summary>Probability that a preference is the wrong way round.</summary>
    public double LabelSmoothing { get; }

    /// <summary>Whether log-ratios are divided by the number of tokens.</summary>
    public bool LengthNormalised { get; }

    /// <summary>Weight of imitating the chosen response.</summary>
    public double SftWeight { get; }

    /// <summary>The method's settings.</summary>
    public DpoOptions Options => new() { Beta = Beta, Form = Loss, LabelSmoothing = LabelSmoothing, LengthNormalised = LengthNormalised, SftWeight = SftWeight };

    /// <summary>Most pairs built for one question.</summary>
    public int PairsPerQuestion { get; }
}

/// <summary>Section <c>kto</c>.</summary>
public sealed record KtoRecipe
{
    internal KtoRecipe(RecipeValues values)
    {
        Beta = values.Number("kto.beta");
        DesirableWeight = values.Number("kto.desirable_weight");
        UndesirableWeight = values.Number("kto.undesirable_weight");
        Baseline = values.Choice<KtoBaselineForm>("kto.baseline");
    }

    /// <summary>Strength of the tie to the reference.</summary>
    public double Beta { get; }

    /// <summary>Weight of right responses.</summary>
    public double DesirableWeight { get; }

    /// <summary>Weight of wrong responses.</summary>
    public double UndesirableWeight { get; }

    /// <summary>Source of the KL baseline.</summary>
    public KtoBaselineForm Baseline { get; }

    /// <summary>The method's settings.</summary>
    /// <param name="rightAt">Responses with at least this reward are desirable.</param>
    public KtoOptions Options(double rightAt) => new() { Beta = Beta, DesirableWeight = DesirableWeight, UndesirableWeight = UndesirableWeight, Baseline = Baseline, RightAt = rightAt };
}

/// <summary>Section <c>oreo</c>: the method of arXiv 2412.16145 and the options of its authors' program.</summary>
public sealed record OreoRecipe
{
    internal OreoRecipe(RecipeValues values)
    {
        Level = values.Choice<OreoLevel>("oreo.level");
        Beta = values.Number("oreo.beta");
        Alpha = values.Number("oreo.alpha");
        Kl = values.Choice<KlForm>("oreo.kl");
        ClipLog = values.OptionalNumber("oreo.clip_log");
        Ema = values.Number("oreo.ema");
        FreezePolicySteps = values.Integer("oreo.freeze_policy_steps");
        TargetKl = values.OptionalNumber("oreo.target_kl");
        KlCoefficientLearningRate = values.Number("oreo.kl_coefficient_lr");
        ImportanceWeights = values.Choice<ImportanceWeighting>("oreo.importance_weights");
        Hinge = values.Number("oreo.hinge");
        RewardScale = values.Number("oreo.reward_scale");
        RewardShift = values.Number("oreo.reward_shift");
        ReferenceCache = values.Choice<ReferenceCache>("oreo.reference_cache");
    }

    /// <summary>Form of the policy loss.</summary>
    public OreoLevel Level { get; }

    /// <summary>β of the soft Bellman equation.</summary>
    public double Beta { get; }

    /// <summary>Weight of the KL regulariser.</summary>
    public double Alpha { get; }

    /// <summary>Form of the regulariser.</summary>
    public KlForm Kl { get; }

    /// <summary>Clip of the accumulated log-ratio inside the value loss, or null.</summary>
    public double? ClipLog { get; }

    /// <summary>Decay of the averaged policy; 0 for none.</summary>
    public double Ema { get; }

    /// <summary>First updates in which only the value model learns.</summary>
    public int FreezePolicySteps { get; }

    /// <summary>KL to steer to, or null.</summary>
    public double? TargetKl { get; }

    /// <summary>Learning rate of log α.</summary>
    public double KlCoefficientLearningRate { get; }

    /// <summary>Weights of trajectories.</summary>
    public ImportanceWeighting ImportanceWeights { get; }

    /// <summary>Weight of the hinge at response level.</summary>
    public double Hinge { get; }

    /// <summary>Factor of the reward.</summary>
    public double RewardScale { get; }

    /// <summary>Offset of the reward.</summary>
    public double RewardShift { get; }

    /// <summary>Whether the reference's log-probs are kept.</summary>
    public ReferenceCache ReferenceCache { get; }
}
