using System.Text;
using Bellman.Runtime.Checkpoints;
using Bellman.Training.Data;

namespace Bellman.Training.Jobs;

/// <summary>
/// The file that a rollout grows into. Until the end it is called <c>FILE.partial</c> and begins with a line of settings; a stopped run
/// is continued from there, and only a complete one gets the name <c>FILE</c>.
/// </summary>
public sealed class RolloutFile : IDisposable
{
    private const string SettingsName = "rollout_settings";
    private readonly string _path, _partial, _settings;
    private readonly int _samples;
    private readonly HashSet<int> _done = [];
    private StreamWriter? _writer;

    private RolloutFile(string path, string settings, int samples)
    {
        _path = path;
        _partial = path + ".partial";
        _settings = settings;
        _samples = samples;
    }

    /// <summary>Lines of problems that earlier runs have finished.</summary>
    public IReadOnlySet<int> Done => _done;

    /// <summary>Opens the partial file.</summary>
    /// <param name="path">Final name.</param>
    /// <param name="source">Model, data and prompt, in words.</param>
    /// <param name="options">Settings; an earlier run must have had the same.</param>
    /// <param name="resume">Whether to continue an earlier run where there is one.</param>
    /// <exception cref="DataException">There is an earlier run and it is not to be continued, or had other settings.</exception>
    public static RolloutFile Open(string path, string source, RolloutOptions options, bool resume)
    {
        var file = new RolloutFile(path, options.Fingerprint(source), options.Samples);
        try
        {
            file.Start(resume);
            return file;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            file.Dispose();
            throw new DataException($"{path}: cannot be written: {error.Message.ReplaceLineEndings(" ")}", error);
        }
    }

    /// <summary>Takes the lines of further problems.</summary>
    public JsonLineWriter Writer => new(_writer!);

    /// <summary>Hands what was written to the system, so that a killed process loses no finished problem.</summary>
    public void Flush() => _writer!.Flush();

    /// <summary>Gives the complete file its name.</summary>
    public void Complete()
    {
        _writer!.Dispose();
        _writer = null;
        AtomicFile.Write(_path, stream =>
        {
            using var text = new StreamWriter(stream, new UTF8Encoding(false), 1 << 16, leaveOpen: true) { NewLine = "\n" };
            foreach (string line in File.ReadLines(_partial).Skip(1)) text.WriteLine(line);
        });
        File.Delete(_partial);
    }

    /// <inheritdoc/>
    public void Dispose() => _writer?.Dispose();

    private void Start(bool resume)
    {
        List<string> kept = [];
        if (File.Exists(_partial))
        {
            if (!resume) throw new DataException($"{_partial}: an earlier run was stopped here; continue it with --resume, or delete the file.");
            kept = Whole();
        }
        AtomicFile.Write(_partial, stream =>
        {
            using var text = new StreamWriter(stream, new UTF8Encoding(false), 1 << 16, leaveOpen: true) { NewLine = "\n" };
            text.WriteLine(JsonLineWriter.Format(json => json.WriteString(SettingsName, _settings)));
            foreach (string line in kept) text.WriteLine(line);
        });
        _writer = new StreamWriter(new FileStream(_partial, FileMode.Append, FileAccess.Write, FileShare.Read), new UTF8Encoding(false)) { NewLine = "\n", AutoFlush = false };
    }

    /// <summary>The lines of problems with all their samples; a crash may have cut the last ones.</summary>
    private List<string> Whole()
    {
        var lines = new List<(int Problem, string Text)>();
        var counts = new Dictionary<int, int>();
        int number = 0;
        foreach (string text in File.ReadLines(_partial))
        {
            number++;
            JsonLine line;
            try
            {
                line = JsonLines.Parse(text, _partial, number);
            }
            catch (DataException) when (number > 1)
            {
                break;
            }
            if (number == 1)
            {
                string earlier = line.Text(SettingsName);
                if (earlier != _settings) throw new DataException($"{_partial}: the earlier run had other settings ({earlier}), now they are ({_settings}); use the same ones, or delete the file.");
                continue;
            }
            int problem = line.Whole("line");
            lines.Add((problem, text));
            counts[problem] = counts.GetValueOrDefault(problem) + 1;
        }
        foreach ((int problem, int count) in counts)
            if (count == _samples) _done.Add(problem);
        return [.. lines.Where(x => _done.Contains(x.Problem)).Select(x => x.Text)];
    }
}
