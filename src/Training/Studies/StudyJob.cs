using System.Diagnostics;
using System.Text.Json;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Experiments;
using Bellman.Training.Jobs;
using Bellman.Training.Recipes;
using Bellman.Training.Tasks;
using Bellman.Training.Trainers;

namespace Bellman.Training.Studies;

/// <summary>
/// Runs a study into a folder: tunes every method on validation problems, trains all seeds with the chosen settings, answers
/// held-out problems, and writes study.json, table.md, report.html and plots. What is finished is kept, so that a stopped run
/// goes on where it was.
/// </summary>
public sealed class StudyJob
{
    private const string StudyName = "study.yaml";
    private readonly Study _study;
    private readonly string _folder;

    /// <summary>A job.</summary>
    /// <param name="study">The study.</param>
    /// <param name="folder">Where it goes.</param>
    /// <param name="resume">Whether to go on with what the folder holds; without it the folder must be new or empty.</param>
    /// <exception cref="CheckpointException">The folder holds something else.</exception>
    public StudyJob(Study study, string folder, bool resume = false)
    {
        (_study, _folder) = (study, folder);
        if (File.Exists(folder)) throw new CheckpointException($"{folder}: expected a folder to write to, but there is a file of this name; give another --out.");
        if (!Directory.Exists(folder) || !Directory.EnumerateFileSystemEntries(folder).Any()) return;
        string earlier = Path.Combine(folder, StudyName);
        if (!File.Exists(earlier)) throw new CheckpointException($"{folder}: the folder is not empty and holds no study; give another --out.");
        if (!resume) throw new CheckpointException($"{folder}: the folder holds a study already; go on with --resume, or give another --out.");
        string name = NameOf(earlier);
        if (name != study.Name) throw new CheckpointException($"{folder}: the folder holds another study ('{name}', this one is '{study.Name}'); give another --out.");
    }

    /// <summary>Runs what is not finished yet, and writes all results.</summary>
    /// <exception cref="BellmanException">A task has too few problems, or a method has nothing to learn from.</exception>
    /// <exception cref="OperationCanceledException">It was stopped; finished stages are kept.</exception>
    public StudyResult Run(Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        var clock = Stopwatch.StartNew();
        Directory.CreateDirectory(_folder);
        AtomicFile.WriteText(Path.Combine(_folder, StudyName), _study.Text);
        var cache = new StudyCache(_folder);
        StudyTaskResult[] tasks = [.. _study.Tasks.Select(task => Run(task, cache, progress, cancellation))];
        var result = new StudyResult(_study.Name, clock.Elapsed.TotalSeconds, tasks);
        AtomicFile.WriteBytes(Path.Combine(_folder, "study.json"), JsonSerializer.SerializeToUtf8Bytes(result, JsonSerializerOptions.Web));
        new StudyReport(_study, result).Write(_folder);
        return result;
    }

    /// <summary>The result as one line of JSON: accuracy of every method on every task.</summary>
    public static string Json(Study study, StudyResult result) => StudyTables.Json(study, result);

    /// <summary>The table as text for a terminal or a Markdown page.</summary>
    public static string Table(Study study, StudyResult result) => StudyTables.Markdown(study, result);

    private static string NameOf(string path)
    {
        try
        {
            return Study.Load(path).Name;
        }
        catch (RecipeException)
        {
            // Written by another version, or by hand: no study that this one could continue.
            return Path.GetFileName(path);
        }
    }

    private StudyTaskResult Run(StudyTask task, StudyCache cache, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        var tuning = new List<StudyTuning>();
        var seeds = new List<StudySeedResult>();
        var temperatures = new Dictionary<(string Method, string Policy, string Search), float>();
        StudyPicture[] pictures = [];
        string? pictured = null;
        foreach (ulong seed in _study.Seeds)
        {
            var run = new StudySeedRun(_study, task, seed, cache, progress, cancellation);
            StudyModels sft = run.Sft();
            if (seeds.Count == 0 || _study.TunesEachSeed) tuning.AddRange(_study.Methods.Select(method => Tune(run, method, sft, seed)));
            var methods = new List<StudyMethodResult>();
            foreach (StudyMethod method in _study.Methods)
            {
                MethodSettings chosen = tuning.Last(x => x.Method == method.Name).Best
                    ?? throw new TrainingException($"Study: {method.Name} on {task.Name} ran out of bounds with every setting of its grid; lower its learning rates.");
                methods.Add(Run(run, method, chosen, sft, temperatures, out StudyModels first));
                if (seeds.Count > 0 || pictured is not null || !chosen.UsesValue || _study.Pictures == 0) continue;
                pictured = method.Name;
                pictures = run.Pictures(sft, first);
            }
            seeds.Add(new StudySeedResult(seed, run.Greedy("SFT answering", sft, TaskSplit.HeldOut), run.SamplesRight(sft, 1), [.. methods]));
        }
        return new StudyTaskResult(task, [.. tuning], [.. seeds], pictures, pictured);
    }

    private static StudyTuning Tune(StudySeedRun run, StudyMethod method, StudyModels sft, ulong seed)
    {
        // A grid of one setting leaves nothing to choose.
        if (method.Grid.Count == 1) return new StudyTuning(method.Name, seed, [new StudyTrial(method.Grid[0], null)]);
        StudyTrial[] trials = [.. method.Grid.Select((x, i) => new StudyTrial(x, run.Validate($"tuning {method.Name} {i + 1}/{method.Grid.Count}", x, sft)))];
        var tuning = new StudyTuning(method.Name, seed, trials);
        foreach (StudyTrial trial in trials)
            if (trial.Settings != tuning.Best) run.Drop(run.TrainedKey(trial.Settings, sft, null, 1));
        return tuning;
    }

    /// <summary>The temperature that does best on validation problems; of equal ones the first.</summary>
    private float ChooseTemperature(StudySeedRun run, string method, string policy, StudyModels trained, double beta, StudySweep sweep, List<StudySweepTrial> trials)
    {
        if (_study.SweepTemperatures.Count == 1) return _study.SweepTemperatures[0];
        int size = sweep.Sizes[sweep.Sizes.Count / 2];
        StudySweepTrial[] tried =
        [
            .. _study.SweepTemperatures.Select(t => new StudySweepTrial(policy, sweep.Name, t,
                run.Sweep(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{sweep.Name} {size}, {StudySweeps.Title(method, policy)}, temperature {t}"), policy, trained, beta, sweep, size, t, TaskSplit.Validation).HeldOut.Accuracy)),
        ];
        trials.AddRange(tried);
        return (float)tried.MaxBy(x => x.Accuracy)!.Temperature;
    }

    private StudyMethodResult Run(StudySeedRun run, StudyMethod method, MethodSettings settings, StudyModels sft, Dictionary<(string Method, string Policy, string Search), float> temperatures, out StudyModels first)
    {
        StudyModels models = first = run.Train(method.Name, settings, sft, null, 1);
        var rounds = new List<StudyRound> { new(1, run.SamplesRight(sft, 1), run.Greedy($"{method.Name} answering", models, TaskSplit.HeldOut)) };
        for (int round = 2; round <= method.Rounds; round++)
        {
            StudyModels start = models;
            models = run.Train($"{method.Name}, round {round}", settings, start, settings.UsesValue && method.KeepsValue ? start : null, round);
            rounds.Add(new StudyRound(round, run.SamplesRight(start, round), run.Greedy($"{method.Name} answering, round {round}", models, TaskSplit.HeldOut)));
        }
        var searches = new List<StudySearch>();
        foreach ((bool wanted, string policy, StudyModels searched) in new[] { (method.SearchesOwn, "own", first), (method.SearchesSft, "sft", sft) })
        {
            if (!wanted) continue;
            foreach (int width in _study.Widths)
                searches.Add(new StudySearch(policy, width, run.Beam($"{method.Name} searching {policy}, B={width}", searched, first, width)));
        }
        var points = new List<StudySweepPoint>();
        var trials = new List<StudySweepTrial>();
        foreach (string policy in method.Sweeps)
            foreach (StudySweep sweep in _study.Sweeps)
            {
                // Without scores it would draw the same as with V.
                if (policy == StudySweep.LogRatioPolicy && !AnswerSearchSizes.NeedsScores(sweep.Search)) continue;
                if (_study.TunesEachSeed || !temperatures.ContainsKey((method.Name, policy, sweep.Name)))
                    temperatures[(method.Name, policy, sweep.Name)] = ChooseTemperature(run, method.Name, policy, first, settings.Beta, sweep, trials);
                float temperature = temperatures[(method.Name, policy, sweep.Name)];
                foreach (int size in sweep.Sizes)
                    points.Add(run.Sweep($"{sweep.Name} {size}, {StudySweeps.Title(method.Name, policy)}", policy, first, settings.Beta, sweep, size, temperature, TaskSplit.HeldOut));
            }
        ValueNumbers? value = settings.UsesValue ? run.CheckValue($"{method.Name}, checking values", sft, first) : null;
        return new StudyMethodResult(method.Name, settings, StudySeedRun.Seconds(first), [.. rounds], [.. searches], [.. points], [.. trials], value, StudySeedRun.Curves(first));
    }
}
