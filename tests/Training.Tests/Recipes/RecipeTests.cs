using Bellman.Tests;
using Bellman.Training.Data;
using Bellman.Training.Recipes;
using Xunit;

namespace Bellman.Training.Tests.Recipes;

public sealed class RecipeTests
{
    private const string Small = """
        objective: oreo
        out: runs/x
        model:
          policy: m
        data:
          train: d.jsonl
        """;

    private static IReadOnlyList<string> Problems(string yaml, params string[] overrides) =>
        Assert.Throws<RecipeException>(() => Recipe.Parse(yaml, "r.yaml", overrides)).Problems;

    private static void Fails(string expected, string yaml, params string[] overrides)
    {
        IReadOnlyList<string> problems = Problems(yaml, overrides);
        Assert.True(problems.Any(x => x.Contains(expected, StringComparison.Ordinal)), $"expected '{expected}', received: {string.Join(" | ", problems)}");
        Assert.All(problems, x => Assert.DoesNotContain('\n', x));
    }

    [Fact]
    public void DefaultsAreThePapers()
    {
        var recipe = Recipe.Parse(Small);
        Assert.Equal((Objective.Oreo, 0ul, "runs/x", "m"), (recipe.Objective, recipe.Seed, recipe.Out, recipe.Model.Policy));
        Assert.Equal((0.03, 0.01, OreoLevel.Token, KlForm.Full), (recipe.Oreo.Beta, recipe.Oreo.Alpha, recipe.Oreo.Level, recipe.Oreo.Kl));
        Assert.Equal((5e-6, 5e-6, 0.9, 0.95, 128, 1), (recipe.Train.PolicyLearningRate, recipe.Train.ValueLearningRate, recipe.Train.Beta1, recipe.Train.Beta2, recipe.Train.BatchSize, recipe.Train.Epochs));
        Assert.Equal((2048, DropPolicy.Drop, DropPolicy.Refuse, StateLevel.Token), (recipe.Data.MaxLength, recipe.Data.Overlong, recipe.Data.Empty, recipe.Data.StateLevel));
        Assert.Null(recipe.Model.Value);
        Assert.Null(recipe.Oreo.ClipLog);
        Assert.Equal("prompt", recipe.Data.Fields.Prompt);
        Assert.Equal(new FieldNames(), recipe.Data.Fields);
    }

    [Theory]
    [InlineData("sft", 2e-5, 3, false)]
    [InlineData("rejection", 5e-6, 1, true)]
    [InlineData("dpo", 5e-7, 1, false)]
    [InlineData("kto", 5e-8, 1, false)]
    public void SomeDefaultsFollowTheObjective(string objective, double rate, int epochs, bool deduplicate)
    {
        var recipe = Recipe.Parse(Small, overrides: [$"objective={objective}"]);
        Assert.Equal((rate, epochs, deduplicate), (recipe.Train.PolicyLearningRate, recipe.Train.Epochs, recipe.Data.Deduplicate));
    }

    [Theory]
    [InlineData("step", 0.1, StateLevel.Step)]
    [InlineData("response", 0.3, StateLevel.Response)]
    [InlineData("single_step", 0.01, StateLevel.Token)]
    public void SomeDefaultsFollowTheLevel(string level, double alpha, StateLevel states)
    {
        var recipe = Recipe.Parse(Small, overrides: [$"oreo.level={level}"]);
        Assert.Equal((alpha, states), (recipe.Oreo.Alpha, recipe.Data.StateLevel));
    }

    [Fact]
    public void OverridesReplaceWhatTheFileSays()
    {
        var recipe = Recipe.Parse(Small + "\nseed: 4\n", overrides:
        [
            "seed=9", "data.train=[a.jsonl, b.jsonl]", "train.betas=[0.8, 0.9]", "data.prompt_template=Q: {prompt} = #1",
            "data.fields.prompt=question", "oreo.clip_log=2", "oreo.clip_log=null", "model.value='a: b'", "data.deduplicate=true",
        ]);
        Assert.Equal(9ul, recipe.Seed);
        Assert.Equal(["a.jsonl", "b.jsonl"], recipe.Data.Train);
        Assert.Equal((0.8, 0.9), (recipe.Train.Beta1, recipe.Train.Beta2));
        Assert.Equal(("Q: {prompt} = #1", "question", "a: b", true), (recipe.Data.PromptTemplate, recipe.Data.Fields.Prompt, recipe.Model.Value, recipe.Data.Deduplicate));
        Assert.Null(recipe.Oreo.ClipLog);
        Assert.Equal("a\n{prompt}", Recipe.Parse(Small, overrides: ["data.prompt_template=\"a\\n{prompt}\""]).Data.PromptTemplate);
    }

    [Theory]
    [InlineData("objective: sft\nout: \"a b: c\"\nmodel:\n  policy: /m\ndata:\n  train: [x, \"y z\"]\n  prompt_template: \"Q: {prompt}\\nA\\t\\u00e9:\"\n")]
    [InlineData("objective: oreo\nout: o\nseed: 9000000000000000000\nmodel:\n  policy: \"null\"\n  value: v\ndata:\n  train: x\noreo:\n  level: step\n  clip_log: 0.1\n  beta: 0.30000000000000004\n")]
    [InlineData("objective: oreo\nout: o\nmodel:\n  policy: m\ndata:\n  train: x\ntrain:\n  steps: 7\noreo:\n  target_kl: 0.1\n  kl_coefficient_lr: 0.5\n")]
    public void TheWrittenRecipeReadsBackTheSame(string yaml)
    {
        var first = Recipe.Parse(yaml);
        var second = Recipe.Parse(first.ToYaml());
        Assert.Equal(first.ToYaml(), second.ToYaml());
        Assert.Equal((first.Out, first.Seed, first.Model, first.Data.PromptTemplate, first.Data.StateLevel), (second.Out, second.Seed, second.Model, second.Data.PromptTemplate, second.Data.StateLevel));
        Assert.Equal(first.Data.Train, second.Data.Train);
        Assert.Equal(first.Oreo, second.Oreo);
        Assert.Equal(first.Train, second.Train);
        using TemporaryFolder folder = TestData.NewFolder();
        first.Save(folder.File("recipe.yaml"));
        Assert.Equal(first.ToYaml(), Recipe.Load(folder.File("recipe.yaml")).ToYaml());
    }

    [Fact]
    public void EveryDeclaredKeyIsReadIntoTheRecipe()
    {
        string[] unread = [.. RecipeKeys.All.Select(x => x.Name).Except(Recipe.Parse(Small).KeysRead)];
        Assert.Empty(unread);
    }

    [Fact]
    public void SeveralProblemsAreToldTogether()
    {
        const string yaml = """
            objective: oreo
            trian:
              epochs: 2
            data:
              train: d.jsonl
              overlong: dorp
            train:
              batch_size: none
              policy_lr: -1
            """;
        RecipeException error = Assert.Throws<RecipeException>(() => Recipe.Parse(yaml, "r.yaml", ["oreo.bta=1"]));
        Assert.Equal(
        [
            "line 3: unknown key 'trian.epochs', did you mean 'train.epochs'?",
            "--set oreo.bta=1: unknown key 'oreo.bta', did you mean 'oreo.beta'?",
            "'out' is missing: run folder. It must be new, or hold an interrupted run of this recipe that is resumed",
            "'model.policy' is missing: model folder that training starts from",
            "line 6: data.overlong: expected one of drop, refuse, received 'dorp'; did you mean 'drop'?",
            "line 8: train.batch_size: expected integer, at least 1, received 'none'",
            "line 9: train.policy_lr: expected number, above 0, received '-1'",
        ], error.Problems);
        Assert.StartsWith("r.yaml: 7 problems: line 3:", error.Message);
    }

    [Theory]
    [InlineData("line 7: unknown key 'beta', did you mean 'dpo.beta'?", "beta: 1")]
    [InlineData("line 7: unknown key 'nonsense', see docs/recipes.md", "nonsense: [1, {a: b}]")]
    [InlineData("line 7: unknown key 'nonsense', see docs/recipes.md", "nonsense: {}")]
    [InlineData("line 7: 'oreo' is a section; expected keys below it, received '3'", "oreo: 3")]
    [InlineData("line 7: 'out' is given twice, first in line 2", "out: again")]
    [InlineData("line 7: seed: expected integer, at least 0, received a section", "seed: {a: 1}")]
    [InlineData("line 7: seed: expected integer, at least 0, received '1.5'", "seed: 1.5")]
    [InlineData("line 7: seed: expected integer, at least 0, received nothing", "seed:")]
    [InlineData("line 7: threads: expected integer, at least 0, received '3000000000'", "threads: 3000000000")]
    [InlineData("line 8: not YAML", "oreo: [")]
    [InlineData("line 7: expected one document", "---\nseed: 1")]
    [InlineData("line 7: seed: expected integer, at least 0, received a reference", "seed: *here")]
    [InlineData("line 8: unknown key 'train.beta'", "train:\n  beta: 1")]
    [InlineData("line 8: train.betas: expected two numbers, at least 0 and below 1, received [0.9, 1]", "train:\n  betas: [0.9, 1]")]
    [InlineData("line 8: train.betas: expected a list of plain values", "train:\n  betas: [0.9, [1]]")]
    [InlineData("line 8: train.epsilon: expected number, above 0, received 'NaN'", "train:\n  epsilon: NaN")]
    [InlineData("line 8: 'dpo.beta' has no effect with objective oreo; remove it", "dpo:\n  beta: 1")]
    public void WrongKeysAndValuesAreNamed(string expected, string addition) => Fails(expected, Small + "\n" + addition);

    [Theory]
    [InlineData("train.epochs and train.steps are both given", "train.epochs=1", "train.steps=5")]
    [InlineData("expected fewer than the 5 of train.steps, received 5", "train.steps=5", "train.warmup_steps=5")]
    [InlineData("is smaller than data.max_length (9000)", "data.max_length=9000")]
    [InlineData("train.validate_every needs data.validation", "train.validate_every=5")]
    [InlineData("expected {prompt} in it", "data.prompt_template=Q: A:")]
    [InlineData("has no reward", "data.format=preferences")]
    [InlineData("set oreo.kl to sampled", "oreo.reference_cache=logprobs")]
    [InlineData("has no effect without oreo.target_kl", "oreo.kl_coefficient_lr=0.1")]
    [InlineData("must then start above 0", "oreo.target_kl=0.1", "oreo.alpha=0")]
    [InlineData("belongs to oreo.level response", "oreo.hinge=1")]
    [InlineData("makes all rewards equal", "oreo.reward_scale=0")]
    [InlineData("the policy would never learn", "train.steps=5", "oreo.freeze_policy_steps=5")]
    [InlineData("data.state_level step does not go with oreo.level token", "data.state_level=step")]
    [InlineData("kto.undesirable_weight are both 0", "objective=kto", "kto.desirable_weight=0", "kto.undesirable_weight=0")]
    [InlineData("--set seed: expected section.key=value", "seed")]
    [InlineData("--set data.train=[a, [b]]: data.train: expected a list of plain values", "data.train=[a, [b]]")]
    [InlineData("--set data.train=[a: not YAML", "data.train=[a")]
    public void ContradictionsAndWrongOverridesAreRefused(string expected, params string[] overrides) => Fails(expected, Small, overrides);

    [Fact]
    public void TheReferenceCacheGoesWithTheSampledKl() =>
        Assert.Equal(ReferenceCache.Logprobs, Recipe.Parse(Small, overrides: ["oreo.reference_cache=logprobs", "oreo.kl=sampled"]).Oreo.ReferenceCache);

    [Theory]
    [InlineData("", "'objective' is missing")]
    [InlineData("# nothing", "'data.train' is missing")]
    [InlineData("- a\n- b", "line 1: expected keys with values")]
    [InlineData("? [a]\n: b\n", "line 1: expected a key")]
    public void TextsThatAreNoRecipeAreRefused(string yaml, string expected) => Fails(expected, yaml);

    [Fact]
    public void DeepNestingIsRefusedWithoutHarm() => Fails("did you mean 'train.steps'", "trian:\n  steps: " + new string('[', 20000) + new string(']', 20000) + "\n");

    [Fact]
    public void UnreadableFilesAreRefused()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        Assert.Contains("is not there", Assert.Throws<RecipeException>(() => Recipe.Load(folder.File("none.yaml"))).Message);
        Assert.Contains("received a folder", Assert.Throws<RecipeException>(() => Recipe.Load(folder.Path)).Message);
        File.WriteAllBytes(folder.File("latin.yaml"), [(byte)'a', 0xE9]);
        Assert.Contains("expected UTF-8", Assert.Throws<RecipeException>(() => Recipe.Load(folder.File("latin.yaml"))).Message);
        File.WriteAllText(folder.File("big.yaml"), new string('#', (1 << 20) + 1));
        Assert.Contains("is this the right file?", Assert.Throws<RecipeException>(() => Recipe.Load(folder.File("big.yaml"))).Message);
    }
}
