using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Data;
using Bellman.Training.Recipes;

namespace Bellman.Training.Jobs;

/// <summary>One token of an example.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Text">Its text; the token's name for a special one.</param>
/// <param name="IsAction">Whether the policy is trained to write it.</param>
/// <param name="IsState">Whether the value model is trained at this token: the next one is an action.</param>
public readonly record struct InspectedToken(int Id, string Text, bool IsAction, bool IsState);

/// <summary>One trajectory with its masks.</summary>
/// <param name="Line">Line of its file.</param>
/// <param name="Reward">Its reward.</param>
/// <param name="Tokens">Its tokens.</param>
public sealed record InspectedExample(int Line, float Reward, IReadOnlyList<InspectedToken> Tokens);

/// <summary>What a recipe will do.</summary>
/// <param name="Recipe">The recipe.</param>
/// <param name="Data">What becomes of the training files.</param>
/// <param name="Validation">What becomes of the validation file, or null.</param>
/// <param name="Rewards">Rewards with their counts, the most frequent first; at most ten.</param>
/// <param name="Examples">A trajectory of high and one of low reward.</param>
/// <param name="UpdatesPerEpoch">Updates of one pass.</param>
/// <param name="Updates">Updates in all.</param>
/// <param name="MicroBatchTokens">Tokens of the largest micro-batch.</param>
/// <param name="Memory">Memory by part.</param>
/// <param name="Device">Where the run computes; <see cref="Device.PaperCard"/> where the recipe asks for a card and there is none here.</param>
/// <param name="DeviceProblem">Why there is no card; null unless one was looked for.</param>
/// <param name="Policy">Configuration of the policy.</param>
/// <param name="Pairs">Pairs for DPO; null for other objectives.</param>
public sealed record RecipeInspection(Recipe Recipe, DataReport Data, DataReport? Validation, IReadOnlyList<(float Reward, int Count)> Rewards, IReadOnlyList<InspectedExample> Examples,
    long UpdatesPerEpoch, long Updates, int MicroBatchTokens, IReadOnlyList<MemoryPart> Memory, Device Device, string? DeviceProblem, ModelConfig Policy, PreferencePairs? Pairs);

/// <summary>What a model folder holds.</summary>
/// <param name="Config">Its configuration.</param>
/// <param name="Parameters">Weights.</param>
/// <param name="Bytes">Bytes of all files of the folder.</param>
/// <param name="HasValueHead">Whether it is a value model.</param>
/// <param name="Tokenizer">Its tokenizer, or null when it has none.</param>
/// <param name="TokenizerProblem">Why there is no tokenizer, or what does not fit; null when all is well.</param>
/// <param name="HasChatTemplate">Whether the tokenizer has a chat template.</param>
public sealed record ModelInspection(ModelConfig Config, long Parameters, long Bytes, bool HasValueHead, Tokenizer? Tokenizer, string? TokenizerProblem, bool HasChatTemplate);

/// <summary>Looks at what would be trained, without loading weights or training anything.</summary>
public static class InspectJob
{
    private const int MostRewards = 10;

    /// <summary>Looks at a recipe: reads its data as training would.</summary>
    /// <exception cref="BellmanException">The recipe, a model folder or the data cannot be used.</exception>
    public static RecipeInspection Recipe(Recipe recipe, string source, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        TrainingSetup.CheckSupported(recipe, source);
        ModelConfig policy = ModelConfig.Load(recipe.Model.Policy);
        Tokenizer tokenizer = ModelFolder.LoadTokenizer(recipe.Model.Policy);
        TrainingData loaded = TrainingData.Load(recipe, tokenizer, policy.MaxPositions, progress, cancellation);
        TrajectoryDataset data = loaded.Read;
        BatchPlan plan = loaded.Plan;
        (Device device, string? problem) = Place(recipe.Device);
        PlannedModels models = TrainingSetup.Models(recipe, policy, device);
        IReadOnlyList<Trajectory> all = data.Trajectories;
        (float, int)[] rewards = [.. all.CountBy(x => x.Reward).OrderByDescending(x => x.Value).Take(MostRewards).Select(x => (x.Key, x.Value))];
        var pieces = new TokenPieces(tokenizer);
        Trajectory best = all.MaxBy(x => x.Reward)!, worst = all.MinBy(x => x.Reward)!;
        InspectedExample[] examples = [.. new[] { best, worst }.Distinct().Select(x => Example(x, pieces, tokenizer))];
        return new RecipeInspection(recipe, data.Report, loaded.Validation?.Report, rewards, examples, plan.BatchesPerEpoch, TrainingSetup.UpdatesOf(recipe, plan), plan.TokenCapacity,
            [.. MemoryPlan.Of(models, plan.TokenCapacity, plan.SequenceCapacity), .. Scored(recipe.Objective, models.Reference is not null, loaded)], device, problem, policy, loaded.Pairs);
    }

    /// <summary>The device, or a card on paper: what a recipe would take is worth knowing before there is a card.</summary>
    private static (Device Device, string? Problem) Place(DeviceChoice choice)
    {
        try
        {
            DeviceSelection selection = DeviceSelection.Of(choice);
            return (selection.Device, selection.WhyNotCuda);
        }
        catch (DeviceException error)
        {
            return (Device.PaperCard, error.Message);
        }
    }

    /// <summary>The log-probs of a reference that runs before training only.</summary>
    private static IEnumerable<MemoryPart> Scored(Objective objective, bool live, TrainingData data)
    {
        if (live || objective is Objective.Sft or Objective.Rejection) yield break;
        // KTO scores as many joined sequences as it has trajectories.
        yield return new MemoryPart("log-probs of the reference", sizeof(float) * (objective == Objective.Kto ? 2 : 1) * data.Read.Report.ActionTokens);
    }

    /// <summary>Looks at a model folder.</summary>
    /// <exception cref="BellmanException">There is no readable configuration.</exception>
    public static ModelInspection Model(string folder)
    {
        ModelConfig config = ModelConfig.Load(folder);
        long bytes = new DirectoryInfo(folder).EnumerateFiles().Sum(x => x.Length);
        try
        {
            Tokenizer tokenizer = ModelFolder.LoadTokenizer(folder);
            return new ModelInspection(config, MemoryPlan.ParameterCount(config), bytes, config.IsValueModel, tokenizer, null, tokenizer.ChatTemplate is not null);
        }
        catch (BellmanException error)
        {
            // A model without a tokenizer is still worth looking at.
            return new ModelInspection(config, MemoryPlan.ParameterCount(config), bytes, config.IsValueModel, null, error.Message, false);
        }
    }

    private static InspectedExample Example(Trajectory trajectory, TokenPieces pieces, Tokenizer tokenizer)
    {
        var tokens = new InspectedToken[trajectory.Length];
        for (int t = 0; t < tokens.Length; t++)
        {
            int id = trajectory.Ids[t];
            string text = pieces[id] is { Length: > 0 } piece ? piece : tokenizer.TokenOf(id);
            tokens[t] = new InspectedToken(id, text, t > 0 && trajectory.ActionMask[t - 1], trajectory.StateMask[t]);
        }
        return new InspectedExample(trajectory.Line, trajectory.Reward, tokens);
    }
}
