using System.Diagnostics;
using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Training.Data;
using Bellman.Training.Experiments;
using Bellman.Training.Jobs;
using Bellman.Training.Metrics;
using Bellman.Training.Tasks;
using Bellman.Training.Trainers;

namespace Bellman.Training.Studies;

/// <summary>Trained models in the cache.</summary>
/// <param name="Key">Name of everything that decides them.</param>
/// <param name="Folder">Folder with <c>policy</c> and perhaps <c>value</c>.</param>
internal sealed record StudyModels(string Key, string Folder)
{
    public string Policy => Path.Combine(Folder, "policy");

    public string Value => Path.Combine(Folder, "value");
}

/// <summary>The stages of one task with one seed; each takes from the cache what is finished.</summary>
internal sealed class StudySeedRun
{
    private readonly Study _study;
    private readonly StudyTask _task;
    private readonly StudyCache _cache;
    private readonly TaskExperiment _experiment;
    private readonly Action<JobProgress>? _progress;
    private readonly CancellationToken _cancellation;
    private readonly string _where;

    // The samples of the first round serve all methods, those of a later round one.
    private readonly Dictionary<bool, (string Key, AnswerSet Set)> _samples = [];

    public StudySeedRun(Study study, StudyTask task, ulong seed, StudyCache cache, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        (_study, _task, _cache, _progress, _cancellation) = (study, task, cache, progress, cancellation);
        _where = $"{task.Name}, seed {seed}";
        _experiment = new TaskExperiment(task.Create(), new ExperimentOptions { Seed = seed, Model = study.Model, MaxNewTokens = study.AnswerTokens });
    }

    public TaskExperiment Experiment => _experiment;

    private string Base => StudyCache.KeyOf(_task.Family, _task.Knobs, _experiment.Options);

    /// <summary>The policy that imitates the demonstrator, with the start of a value model where that has a size of its own.</summary>
    public StudyModels Sft()
    {
        string key = StudyCache.KeyOf("sft", Base, _study.Sft, _study.Demonstrations, _study.ValueModel);
        string folder = _cache.Models(key, home =>
        {
            Stage("demonstrating").Tell(0, _study.Demonstrations, "problems");
            IReadOnlyList<Trajectory> data = _experiment.Demonstrations(_study.Demonstrations);
            using (LanguageModel policy = _experiment.CreatePolicy())
            {
                _experiment.FineTune(policy, data, _study.Sft, Path.Combine(home, "run"), Stage("fine-tuning"));
                _experiment.Save(policy, Path.Combine(home, "policy"));
            }
            if (_study.ValueModel is not { } size) return;
            using LanguageModel trunk = _experiment.CreatePolicy(size);
            _experiment.FineTune(trunk, data, _study.Sft, null, Stage("fine-tuning the value model's trunk"));
            using ValueModel value = ValueModel.FromLanguageModel(trunk);
            _experiment.Save(value, Path.Combine(home, "value"));
        });
        return new StudyModels(key, folder);
    }

    /// <summary>Share of right samples of a policy.</summary>
    public double SamplesRight(StudyModels policy, int round) =>
        _cache.Result(StudyCache.KeyOf("samples right", SampleKey(policy, round)), () => Samples(policy, round).Accuracy);

    /// <summary>Key of what a round of training makes.</summary>
    public string TrainedKey(MethodSettings settings, StudyModels start, StudyModels? value, int round) =>
        StudyCache.KeyOf("train", settings, SampleKey(start, round), _study.Rule, value?.Key);

    /// <summary>One round: samples of the start policy, then training from it with it as the reference.</summary>
    /// <param name="name">Name of the stage.</param>
    /// <param name="settings">The method.</param>
    /// <param name="start">Policy that is sampled, and from which training starts.</param>
    /// <param name="value">Where the value model starts; null for the study's start.</param>
    /// <param name="round">From 1.</param>
    /// <exception cref="TrainingException">The numbers went out of bounds.</exception>
    public StudyModels Train(string name, MethodSettings settings, StudyModels start, StudyModels? value, int round)
    {
        string key = TrainedKey(settings, start, value, round);
        string folder = _cache.Models(key, home =>
        {
            IReadOnlyList<GradedSample> samples = SampleSelection.Select(Samples(start, round).Samples, x => x.Problem.Prompt, x => x.IsRight, _study.Rule, _experiment.Options.Seed);
            var clock = Stopwatch.StartNew();
            using LanguageModel policy = LanguageModel.Load(start.Policy, trainable: true);
            using LanguageModel? reference = settings.UsesReference ? LanguageModel.Load(start.Policy) : null;
            using ValueModel? critic = settings.UsesValue ? StartValue(policy, value) : null;
            try
            {
                _experiment.Train(policy, reference, critic, samples, settings, Path.Combine(home, "run"), Stage(name));
            }
            catch (DataException error)
            {
                throw new DataException($"{_where}, {name}: {error.Message}", error);
            }
            _experiment.Save(policy, Path.Combine(home, "policy"));
            if (critic is not null) _experiment.Save(critic, Path.Combine(home, "value"));
            File.WriteAllText(Path.Combine(home, "seconds"), clock.Elapsed.TotalSeconds.ToString(System.Globalization.CultureInfo.InvariantCulture));
        });
        return new StudyModels(key, folder);
    }

    /// <summary>Seconds of a training, as it was measured then.</summary>
    public static double Seconds(StudyModels models) => double.Parse(File.ReadAllText(Path.Combine(models.Folder, "seconds")), System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>Greedy answers.</summary>
    public StudyVerdicts Greedy(string name, StudyModels models, TaskSplit split)
    {
        int count = split == TaskSplit.Validation ? _study.Validation : _study.HeldOut;
        return _cache.Result(GreedyKey(models.Key, split), () =>
        {
            using LanguageModel policy = LanguageModel.Load(models.Policy);
            return StudyVerdicts.Of(_experiment.Greedy(policy, _experiment.Problems(split, count), Stage(name)).Right);
        });
    }

    /// <summary>Accuracy of a setting on the validation problems; null where its training runs out of bounds.</summary>
    public double? Validate(string name, MethodSettings settings, StudyModels start) =>
        _cache.Result(StudyCache.KeyOf("validate", TrainedKey(settings, start, null, 1), _study.Validation), () =>
        {
            try
            {
                return new Validated(Greedy(name + ", answering", Train(name, settings, start, null, 1), TaskSplit.Validation).Accuracy);
            }
            catch (TrainingException)
            {
                return new Validated(null);
            }
        }).Accuracy;

    /// <summary>Answers by step beam search.</summary>
    public StudyVerdicts Beam(string name, StudyModels policy, StudyModels value, int width) =>
        _cache.Result(StudyCache.KeyOf("beam", policy.Key, value.Key, width, _study.BeamTemperature, _study.HeldOut), () =>
        {
            using LanguageModel model = LanguageModel.Load(policy.Policy);
            using ValueModel critic = ValueModel.Load(value.Value);
            return StudyVerdicts.Of(_experiment.Beam(model, critic, _experiment.Problems(TaskSplit.HeldOut, _study.HeldOut), width, _study.BeamTemperature, Stage(name)).Right);
        });

    /// <summary>Answers by a search of the sweep to the first problems of a split.</summary>
    /// <param name="name">Name of the stage.</param>
    /// <param name="policyName">One of <see cref="StudySweep.Policies"/>.</param>
    /// <param name="trained">The method's models.</param>
    /// <param name="beta">β of the method's training, for log-ratios.</param>
    /// <param name="sweep">The search.</param>
    /// <param name="size">Its size.</param>
    /// <param name="temperature">Temperature of the draws.</param>
    /// <param name="split">Whose problems.</param>
    public StudySweepPoint Sweep(string name, string policyName, StudyModels trained, double beta, StudySweep sweep, int size, float temperature, TaskSplit split)
    {
        StudyModels policy = policyName == StudySweep.SftPolicy ? Sft() : trained;
        int count = split == TaskSplit.Validation ? _study.SweepValidation : _study.SweepHeldOut;
        return _cache.Result(StudyCache.KeyOf("sweep", policyName, policy.Key, trained.Key, sweep.Name, size, temperature, split.ToString(), count), () =>
        {
            using LanguageModel model = LanguageModel.Load(policy.Policy);
            using LanguageModel? reference = policyName == StudySweep.LogRatioPolicy ? LanguageModel.Load(Sft().Policy) : null;
            using ValueModel? critic = reference is null ? ValueModel.Load(trained.Value) : null;
            SearchedSet found = _experiment.Search(new SearchModels(model, critic, reference, (float)beta), _experiment.Problems(split, count), sweep.Search, new AnswerSearchSizes().Scaled(sweep.Search, size), temperature, Stage(name));
            return new StudySweepPoint(policyName, sweep.Name, size, temperature, found.TokensPerProblem, found.Answers.Samples.Count(x => !x.IsFinished), StudyVerdicts.Of(found.Answers.Right));
        });
    }

    /// <summary>How good a value model is on samples of the policy that it was trained for.</summary>
    public ValueNumbers CheckValue(string name, StudyModels policy, StudyModels value) =>
        _cache.Result(StudyCache.KeyOf("value", policy.Key, value.Key, _study.HeldOut), () =>
        {
            using LanguageModel model = LanguageModel.Load(policy.Policy);
            using ValueModel critic = ValueModel.Load(value.Value);
            AnswerSet answers = _experiment.Sample(model, _experiment.Problems(TaskSplit.HeldOut, _study.HeldOut), 1, Stage(name));
            return ValueNumbers.Of(_experiment.CheckValue(model, critic, answers, Stage(name)));
        });

    /// <summary>Some right and some wrong samples of the fine-tuned policy, seen by a method's models.</summary>
    public StudyPicture[] Pictures(StudyModels start, StudyModels models) =>
        _cache.Result(StudyCache.KeyOf("pictures", start.Key, models.Key, _study.Pictures), () =>
        {
            using LanguageModel reference = LanguageModel.Load(start.Policy), policy = LanguageModel.Load(models.Policy);
            using ValueModel value = ValueModel.Load(models.Value);
            // Held-out problems, so that neither model has seen the answers.
            AnswerSet answers = _experiment.Sample(reference, _experiment.Problems(TaskSplit.HeldOut, Math.Min(_study.HeldOut, 20 + 20 * _study.Pictures)), 1, Stage("choosing pictures"));
            return _experiment.Pictures(policy, reference, value, answers, _study.Pictures).Select(Picture).ToArray();
        });

    /// <summary>Course of a training.</summary>
    public static StudyCurve[] Curves(StudyModels models)
    {
        string[] shown = ["policy/loss", "policy/bellman_loss", "policy/kl", "policy/entropy", "value/loss", "value/mean", "value/explained_variance"];
        return
        [
            .. MetricsHistory.Load(Path.Combine(models.Folder, "run", MetricsWriter.FileName)).Where(x => shown.Contains(x.Name))
                .Select(x => new StudyCurve(x.Name, [.. x.Steps], [.. x.Values.Select(v => double.IsFinite(v) ? v : (double?)null)])),
        ];
    }

    public void Drop(string key) => _cache.Drop(key);

    private string GreedyKey(string models, TaskSplit split) => StudyCache.KeyOf("greedy", models, split.ToString(), split == TaskSplit.Validation ? _study.Validation : _study.HeldOut);

    private string SampleKey(StudyModels policy, int round) => StudyCache.KeyOf("samples", policy.Key, round, _study.Problems, _study.Samples, _study.Temperature);

    /// <summary>Samples are drawn again where they are needed: that takes less than reading them would save.</summary>
    private AnswerSet Samples(StudyModels policy, int round)
    {
        string key = SampleKey(policy, round);
        if (_samples.TryGetValue(round == 1, out (string Key, AnswerSet Set) known) && known.Key == key) return known.Set;
        using LanguageModel model = LanguageModel.Load(policy.Policy);
        AnswerSet set = _experiment.Sample(model, _experiment.Problems(TaskSplit.Rollout, _study.Problems), _study.Samples, Stage($"sampling, round {round}"), _study.Temperature, round - 1);
        _samples[round == 1] = (key, set);
        return set;
    }

    private ValueModel StartValue(LanguageModel policy, StudyModels? value)
    {
        if (value is not null) return ValueModel.Load(value.Value, trainable: true);
        return _study.ValueModel is null ? ValueModel.FromLanguageModel(policy, trainable: true) : ValueModel.Load(Sft().Value, trainable: true);
    }

    private StudyPicture Picture(AnswerPicture picture)
    {
        int[] ids = picture.Sample.Ids;
        int prompt = picture.Sample.PromptIds.Length;
        var tokens = new StudyToken[ids.Length];
        for (int t = 0; t < ids.Length; t++)
        {
            // Entry t of the scores belongs to the state after token t; the state after the end token is never trained.
            tokens[t] = new StudyToken(_experiment.Tokenizer.TokenOf(ids[t]), t < prompt, t == prompt || (t > prompt && _experiment.Tokenizer.TokenOf(ids[t - 1]) == "\n"),
                t < prompt - 1 || t == ids.Length - 1 ? null : picture.Score.Values![t],
                t < prompt ? null : picture.Score.LogProbs[t - 1] - picture.Score.ReferenceLogProbs![t - 1]);
        }
        return new StudyPicture(picture.Sample.IsRight, picture.Sample.Grade.Reason, picture.Sample.Grade.FirstWrongStep, tokens);
    }

    private ExperimentStage Stage(string name) => new($"{_where}: {name}", _progress, _cancellation);

    private sealed record Validated(double? Accuracy);
}
