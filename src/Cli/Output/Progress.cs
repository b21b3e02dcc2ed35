using System.Diagnostics;
using System.Globalization;
using System.Text;
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

    private const int BarWidth = 20;

    /// <summary>Runs a job that tells its progress.</summary>
    public static T Run<T>(Terminal terminal, Func<Action<JobProgress>, T> job)
    {
        if (!terminal.IsInteractive) return job(new PlainLines(terminal.Error).Show);
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(terminal.Error) });
        T result = default!;
        console.Progress().AutoClear(true).HideCompleted(true)
            .Columns(new ProgressBarColumn { Width = BarWidth }, new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context => result = job(new Bars(context, console, console.Profile.Width - BarWidth - 8).Show));
        return result;
    }

    /// <summary>Rate as text: "12.3 problems/s", or per minute where it is slow.</summary>
    internal static string Rate(double perSecond, string unit) => perSecond >= 1
        ? string.Create(CultureInfo.InvariantCulture, $"{perSecond:0.#} {unit}/s")
        : string.Create(CultureInfo.InvariantCulture, $"{60 * perSecond:0.#} {unit}/min");

    /// <summary>Stage, count, rate, time left and details in one line.</summary>
    /// <param name="progress">The state.</param>
    /// <param name="since">Units that were done when the clock started: those of an earlier run, say.</param>
    /// <param name="seconds">What the clock shows.</param>
    internal static string Text(JobProgress progress, long since, double seconds)
    {
        if (progress.Done == 0) return progress.Stage;
        var text = new StringBuilder($"{progress.Stage}: {progress.Done}{(progress.Total > 0 ? $" of {progress.Total}" : "")} {progress.Unit}");
        double rate = (progress.Done - since) / Math.Max(1e-3, seconds);
        if (rate > 0) text.Append(", ").Append(Rate(rate, progress.Unit));
        if (rate > 0 && progress.Total > 0) text.Append(", ").Append(Sizes.Time(TimeSpan.FromSeconds((progress.Total - progress.Done) / rate))).Append(" left");
        if (progress.Detail is not null) text.Append(", ").Append(progress.Detail);
        return text.ToString();
    }

    /// <summary>Which stage it is, and since when.</summary>
    private sealed class Pace
    {
        private readonly Stopwatch _clock = new();
        private string? _stage;

        public long Since { get; private set; }

        public double Seconds => _clock.Elapsed.TotalSeconds;

        /// <summary>Takes note of a state; true when a new stage begins with it.</summary>
        public bool Enters(JobProgress progress)
        {
            if (progress.Stage == _stage) return false;
            (_stage, Since) = (progress.Stage, progress.Done);
            _clock.Restart();
            return true;
        }
    }

    private sealed class PlainLines(TextWriter error)
    {
        private readonly Pace _pace = new();

        // A short job prints none of them either.
        private readonly List<string> _notices = [];
        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private double _lastLine;

        public void Show(JobProgress progress)
        {
            if (progress.IsNotice)
            {
                _notices.Add(progress.Stage);
                return;
            }
            if (_notices.Count > 0 && _clock.Elapsed.TotalSeconds >= LineSeconds)
            {
                foreach (string notice in _notices) error.WriteLine(notice);
                _notices.Clear();
            }
            if (_pace.Enters(progress)) _lastLine = 0;
            if (_pace.Seconds - _lastLine < LineSeconds) return;
            _lastLine = _pace.Seconds;
            error.WriteLine(Text(progress, _pace.Since, _pace.Seconds));
        }
    }

    private sealed class Bars(ProgressContext context, IAnsiConsole console, int width)
    {
        private readonly Pace _pace = new();
        private ProgressTask? _task;

        public void Show(JobProgress progress)
        {
            if (progress.IsNotice)
            {
                console.WriteLine(progress.Stage);
                return;
            }
            if (_pace.Enters(progress) || _task is null)
            {
                _task?.StopTask();
                _task = context.AddTask(Markup.Escape(progress.Stage));
            }
            _task.IsIndeterminate = progress.Total <= 0;
            if (progress.Total > 0) _task.MaxValue = progress.Total;
            _task.Value = progress.Done;
            // A text that is wider than the window would break the line that is drawn again and again.
            string text = Text(progress, _pace.Since, _pace.Seconds);
            _task.Description = Markup.Escape(text.Length <= width ? text : text[..Math.Max(8, width - 1)] + "…");
        }
    }
}
