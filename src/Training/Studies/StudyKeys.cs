using Bellman.Training.Recipes;
using Bellman.Training.Tasks;

namespace Bellman.Training.Studies;

/// <summary>Every key that a study file may hold.</summary>
internal static class StudyKeys
{
    private static readonly Bounds FromTwo = new(2, false, double.PositiveInfinity, true);
    private static readonly Bounds Widths = new(1, false, 1024, false);

    /// <summary>Words for the methods, in the order of <see cref="Experiments.ExperimentMethod"/>.</summary>
    public static string[] Methods { get; } = ["sft", "rejection", "dpo", "kto", "dqo", "oreo_token", "oreo_step", "oreo_response"];

    private static readonly RecipeKey[] All =
    [
        new("name", KeyKind.Text, "study", "What the study is called; an output folder belongs to one study."),
        new("seeds", KeyKind.Integers, "0 1 2", "Seeds; each gives its own problems, weights and draws.") { Bounds = Bounds.NotNegative },
        new("compare_to", KeyKind.Text, "", "A method; the table then also has every method's paired difference to it."),
        new("tune", KeyKind.Choice, "first", "Settings are chosen on the validation problems of the first seed, for all seeds, or of each seed for itself.") { Choices = ["first", "each"] },
        new("equal_grids", KeyKind.Flag, "true", "Refuse methods whose grids have different numbers of settings."),
        new("pictures", KeyKind.Integer, "3", "Right and wrong answers, each so many, shown token by token.") { Bounds = Bounds.NotNegative },

        Size("model.hidden", "64", "Width of the policy's hidden states.", FromTwo),
        Size("model.layers", "3", "Blocks.", Bounds.FromOne),
        Size("model.heads", "4", "Attention heads.", Bounds.FromOne),
        Size("model.feed_forward", "176", "Width of the feed-forward part.", Bounds.FromOne),
        Size("model.positions", "128", "Most tokens of prompt and answer.", new Bounds(16, false, 4096, false)),
        Size("model.answer_tokens", "64", "Most tokens of an answer.", Bounds.FromOne),
        Size("value_model.hidden", "", "Width of the value model; without it, the value model has the policy's size and starts from the policy. With it, it is first fine-tuned on the demonstrations like the policy.", FromTwo),
        Size("value_model.layers", "3", "Its blocks.", Bounds.FromOne),
        Size("value_model.heads", "4", "Its heads.", Bounds.FromOne),
        Size("value_model.feed_forward", "176", "Its feed-forward width.", Bounds.FromOne),

        Size("sft.demonstrations", "16000", "Demonstrations that the first policy imitates, right and wrong ones.", Bounds.FromOne),
        Size("sft.epochs", "2", "Passes over them.", Bounds.FromOne),
        new("sft.lr", KeyKind.Number, "2e-3", "Largest learning rate.") { Bounds = Bounds.Positive },
        Size("sft.batch_size", "32", "Demonstrations of one update.", Bounds.FromOne),

        Size("data.problems", "4000", "Problems on which the policy is sampled.", Bounds.FromOne),
        Size("data.samples", "4", "Samples of each.", Bounds.FromOne),
        new("data.temperature", KeyKind.Number, "1", "Temperature of the samples.") { Bounds = Bounds.Positive },
        new("data.rule", KeyKind.Choice, "all", "Which samples are trained on: all; the first ten of a problem; or at most 4 right and 4 wrong of 16, never more right than wrong, yet at least one right.")
        {
            Choices = ["all", "ten", "balanced"],
        },

        Size("evaluation.validation", "500", "Validation problems; settings are chosen on them.", Bounds.FromOne),
        Size("evaluation.held_out", "1000", "Held-out problems of each seed; all reported numbers are of these.", Bounds.FromOne),
        new("search.widths", KeyKind.Integers, "1 3 5 7", "Widths B of step beam search.") { Bounds = Widths },
        new("search.temperature", KeyKind.Number, "0.5", "Temperature of its draws.") { Bounds = Bounds.Positive },
        new("sweep.*", KeyKind.Integers, "", "Sizes of a search of this name, such as beam or best-of-n, for the curve of accuracy against tokens (methods.*.sweep).") { Bounds = new Bounds(1, false, 4096, false) },
        new("sweep.temperatures", KeyKind.Numbers, "0.5 1", "Temperatures of their draws; each search takes the best one, at its middle size, on validation problems.") { Bounds = Bounds.Positive },
        Size("sweep.validation", "200", "Validation problems for that.", Bounds.FromOne),
        Size("sweep.held_out", "500", "Held-out problems of each seed for the curve, at most evaluation.held_out.", Bounds.FromOne),

        new("tasks.*.family", KeyKind.Choice, "", "Family of the task; without it, the task's name is the family.") { Choices = [.. ReasoningTasks.Names] },
        new("tasks.*.*", KeyKind.Number, "", "A knob of the family, such as size, walls or slack."),

        new("methods.*.method", KeyKind.Choice, null, "The method.") { Choices = Methods },
        new("methods.*.lr", KeyKind.Numbers, null, "Largest learning rate of the policy. Several values here and below span the grid.") { Bounds = Bounds.Positive },
        new("methods.*.epochs", KeyKind.Integers, "2", "Passes over the samples.") { Bounds = Bounds.FromOne },
        new("methods.*.value_lr", KeyKind.Numbers, "2e-3", "Largest learning rate of the value model.") { Bounds = Bounds.Positive },
        new("methods.*.beta", KeyKind.Numbers, "0.03", "β, strength of the tie to the reference.")
        {
            Bounds = Bounds.Positive, DefaultBy = ("methods.*.method", new Dictionary<string, string> { ["dpo"] = "0.1", ["kto"] = "0.1" }),
        },
        new("methods.*.alpha", KeyKind.Numbers, "0.01", "α, weight of OREO's KL regulariser.") { Bounds = Bounds.NotNegative },
        Size("methods.*.batch_size", "64", "Trajectories (or pairs) of one update.", Bounds.FromOne),
        Size("methods.*.freeze_policy_updates", "0", "First updates in which only the value model learns.", Bounds.NotNegative),
        new("methods.*.average_decay", KeyKind.Number, "0", "Decay of the averaged policy inside OREO's value loss; 0 for none.") { Bounds = Bounds.BelowOne },
        Size("methods.*.pairs", "6", "DPO: most pairs of one problem.", Bounds.FromOne),
        new("methods.*.sft_weight", KeyKind.Number, "0", "DPO: weight of imitation of the right side.") { Bounds = Bounds.NotNegative },
        Size("methods.*.rounds", "1", "Rounds of collecting with the current policy and training on it.", Bounds.FromOne),
        new("methods.*.value_start", KeyKind.Choice, "previous", "Where the value model of a later round starts: from the previous one, or from the policy with a zero head.") { Choices = ["previous", "policy"] },
        new("methods.*.search", KeyKind.Texts, "", "Which policies are searched with the method's value model: own, sft, or both."),
        new("methods.*.sweep", KeyKind.Texts, "", "What all searches and sizes that sweep names run on: own and sft as above, and log-ratio: the method's policy, scored by β times its log-ratio to the fine-tuned one instead of by a value model."),
    ];

    /// <summary>The table.</summary>
    public static KeyTable Table { get; } = new(All, "docs/study.md");

    private static RecipeKey Size(string name, string fallback, string help, Bounds bounds) => new(name, KeyKind.Integer, fallback, help) { Bounds = bounds };
}
