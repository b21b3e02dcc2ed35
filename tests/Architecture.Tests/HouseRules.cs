using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace Bellman.Architecture.Tests;

/// <summary>
/// The rules of the house as functions from a checkout to the list of its breaches, so that each rule can be shown to fail on a
/// planted breach.
/// </summary>
internal static partial class HouseRules
{
    /// <summary>Longest source file; beyond it a file is split by subject.</summary>
    public const int LongestFile = 500;

    /// <summary>The layers, lowest first: folder under src, assembly, namespace.</summary>
    public static IReadOnlyList<(string Folder, string Assembly, string Namespace)> Layers { get; } =
    [
        ("Kernels", "Bellman.Kernels", "Bellman.Kernels"), ("Runtime", "Bellman.Runtime", "Bellman.Runtime"),
        ("Training", "Bellman.Training", "Bellman.Training"), ("Cli", "bellman", "Bellman.Cli"),
    ];

    /// <summary>Project files reference projects of lower layers only, each layer exists, and internals are shown to tests and benchmarks only.</summary>
    public static List<string> ProjectReferences(string root)
    {
        var problems = new List<string>();
        string[] projects = Directory.GetFiles(Path.Combine(root, "src"), "*.csproj", SearchOption.AllDirectories);
        foreach ((string folder, _, string name) in Layers)
            if (!projects.Contains(Path.Combine(root, "src", folder, name + ".csproj"))) problems.Add($"src/{folder}/{name}.csproj is missing");
        foreach (string project in projects)
        {
            string shown = Shown(root, project);
            int rank = Rank(x => x.Folder == Path.GetFileName(Path.GetDirectoryName(project)));
            if (rank < 0) problems.Add($"{shown} is no layer of the house");
            XDocument xml = XDocument.Load(project);
            foreach (XElement reference in xml.Descendants("ProjectReference"))
            {
                string target = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(project)!, reference.Attribute("Include")!.Value.Replace('\\', '/')));
                int targetRank = Rank(x => x.Folder == Path.GetFileName(Path.GetDirectoryName(target)));
                if (targetRank < 0 || targetRank >= rank) problems.Add($"{shown} references {Shown(root, target)}, which is not below it");
            }
            foreach (XElement friend in xml.Descendants("InternalsVisibleTo"))
            {
                string name = friend.Attribute("Include")!.Value;
                if (!name.EndsWith(".Tests", StringComparison.Ordinal) && !name.Split('.').Contains("Perf"))
                    problems.Add($"{shown} shows its internals to {name}, which is neither a test nor a benchmark");
            }
        }
        return problems;
    }

    /// <summary>Compiled assemblies reference assemblies of lower layers only; every layer must be among the files.</summary>
    public static List<string> CompiledReferences(string folder)
    {
        var problems = new List<string>();
        for (int rank = 0; rank < Layers.Count; rank++)
        {
            string path = Path.Combine(folder, Layers[rank].Assembly + ".dll");
            if (!File.Exists(path))
            {
                problems.Add($"{Layers[rank].Assembly}.dll was not built");
                continue;
            }
            using var file = new PEReader(File.OpenRead(path));
            MetadataReader metadata = file.GetMetadataReader();
            foreach (AssemblyReferenceHandle handle in metadata.AssemblyReferences)
            {
                string name = metadata.GetString(metadata.GetAssemblyReference(handle).Name);
                if (!name.StartsWith("bellman", StringComparison.OrdinalIgnoreCase)) continue;
                int target = Rank(x => x.Assembly == name);
                if (target < 0 || target >= rank) problems.Add($"{Layers[rank].Assembly}.dll references {name}.dll, which is not below it");
            }
        }
        return problems;
    }

    /// <summary>Every source file has one namespace, that of its folder; sources lie only in layers.</summary>
    public static List<string> Namespaces(string root)
    {
        var problems = new List<string>();
        foreach (string file in Sources(root))
        {
            string[] parts = Shown(root, Path.GetDirectoryName(file)!).Split('/')[1..];
            int rank = parts.Length == 0 ? -1 : Rank(x => x.Folder == parts[0]);
            if (rank < 0)
            {
                problems.Add($"{Shown(root, file)} lies in no layer");
                continue;
            }
            string expected = string.Join('.', [Layers[rank].Namespace, .. parts[1..]]);
            string[] found = [.. NamespaceLine().Matches(File.ReadAllText(file)).Select(x => x.Groups[1].Value)];
            if (found.Length != 1 || found[0] != expected)
                problems.Add($"{Shown(root, file)} has namespace {(found.Length == 0 ? "none" : string.Join(" and ", found))}, expected {expected}");
        }
        return problems;
    }

    /// <summary>Every op has its entry, its reference, its CPU kernel, its test and its benchmark.</summary>
    public static List<string> Ops(string root)
    {
        var problems = new List<string>();
        string ops = Path.Combine(root, "src", "Kernels", "Ops");
        string[] folders = Directory.Exists(ops) ? Directory.GetDirectories(ops) : [];
        if (folders.Length == 0) problems.Add("src/Kernels/Ops has no op");
        foreach (string folder in folders)
        {
            string op = Path.GetFileName(folder);
            string[] needed =
            [
                .. new[] { $"{op}.cs", $"{op}.Reference.cs", $"{op}.Cpu.cs" }.Select(x => Path.Combine(folder, x)),
                Path.Combine(root, "tests", "Kernels.Tests", "Ops", $"{op}Tests.cs"),
                Path.Combine(root, "perf", "Cpu", "Ops", $"{op}Perf.cs"),
            ];
            foreach (string file in needed)
                if (!File.Exists(file)) problems.Add($"{Shown(root, file)} is missing");
        }
        return problems;
    }

    /// <summary>No source file is longer than <see cref="LongestFile"/> lines.</summary>
    public static List<string> Lengths(string root)
    {
        var problems = new List<string>();
        foreach (string file in Sources(root))
            if (File.ReadLines(file).Count() is > LongestFile and var lines) problems.Add($"{Shown(root, file)} has {lines} lines, at most {LongestFile} are allowed");
        return problems;
    }

    /// <summary>All C# files under src that people wrote.</summary>
    public static IEnumerable<string> Sources(string root) =>
        Directory.EnumerateFiles(Path.Combine(root, "src"), "*.cs", SearchOption.AllDirectories)
            .Where(x => !Shown(root, x).Split('/').Any(part => part is "bin" or "obj")).Order(StringComparer.Ordinal);

    private static int Rank(Func<(string Folder, string Assembly, string Namespace), bool> matches)
    {
        for (int i = 0; i < Layers.Count; i++)
            if (matches(Layers[i])) return i;
        return -1;
    }

    private static string Shown(string root, string path) => Path.GetRelativePath(root, path).Replace('\\', '/');

    [GeneratedRegex(@"^\s*namespace\s+([\w.]+)", RegexOptions.Multiline)]
    private static partial Regex NamespaceLine();
}
