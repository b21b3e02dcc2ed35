using System.Diagnostics;
using System.Globalization;
using Bellman.Training.Jobs;
using Spectre.Console;

namespace Bellman.Cli.Output;

/// <summary>
/// Shows how far a job is on standard error: a bar with rate and time left for a person at a terminal, else a plain line now
/// and then. Standard output stays free for results.
/// </summary>
internal static class Progress
{
    /// <summary>Seconds between plain lines; a short job prints none.</summary>
    private const double LineSeconds = 10;

    /// <summary>Runs a job that tells its progress.</summary>
    public static T Run<T>(Terminal terminal, Func<Action<JobProgress>, T> job)
    {
        if (!terminal.IsInteractive) return job(new PlainLines(terminal.Error).Show);
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(terminal.Error) });
        T result = default!;
        console.Progress().AutoClear(true).HideCompleted(false)
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .Start(context => result = job(new Bars(context).Show));
        return result;
    }

    /// <summary>Rate as text: "12.3 problems/s", or per minute where it is slow.</summary>
    internal static string Rate(double perSecond, string unit) => perSecond >= 1
        ? string.Create(CultureInfo.InvariantCulture, $"{perSecond:0.#} {unit}/s")
        : string.Create(CultureInfo.InvariantCulture, $"{60 * perSecond:0.#} {unit}/min");

    private sealed class PlainLines(TextWriter error)
    {
        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private string _stage = "";
        private double _stageStart, _lastLine;

        public void Show(JobProgress progress)
        {
            double now = _clock.Elapsed.TotalSeconds;
            if (progress.Stage != _stage) (_stage, _stageStart, _lastLine) = (progress.Stage, now, now);
            if (now - _lastLine < LineSeconds) return;
            _lastLine = now;
            double rate = progress.Done / Math.Max(1e-9, now - _stageStart);
            string left = progress.Total > 0 && rate > 0 ? $", {Sizes.Time(TimeSpan.FromSeconds((progress.Total - progress.Done) / rate))} left" : "";
            string of = progress.Total > 0 ? $" of {progress.Total}" : "";
            error.WriteLine($"{progress.Stage}: {progress.Done}{of} {progress.Unit}, {Rate(rate, progress.Unit)}{left}{(progress.Detail is null ? "" : ", " + progress.Detail)}");
        }
    }

    private sealed class Bars(ProgressContext context)
    {
        private readonly Stopwatch _clock = new();
        private ProgressTask? _task;
        private string _stage = "";

        public void Show(JobProgress progress)
        {
            if (_task is null || progress.Stage != _stage)
            {
                _task?.StopTask();
                _stage = progress.Stage;
                _task = context.AddTask(Markup.Escape(progress.Stage));
                _clock.Restart();
            }
            _task.IsIndeterminate = progress.Total <= 0;
            if (progress.Total > 0) _task.MaxValue = progress.Total;
            _task.Value = progress.Done;
            double rate = progress.Done / Math.Max(1e-3, _clock.Elapsed.TotalSeconds);
            string of = progress.Total > 0 ? $"/{progress.Total}" : "";
            _task.Description = Markup.Escape($"{progress.Stage} {progress.Done}{of}, {Rate(rate, progress.Unit)}{(progress.Detail is null ? "" : ", " + progress.Detail)}");
        }
    }
}
