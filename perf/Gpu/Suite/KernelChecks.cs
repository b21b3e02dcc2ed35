using System.Collections;
using System.Reflection;
using Xunit;
using Xunit.v3;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>
/// The kernel tests of tests/Kernels.Tests, compiled into this program, as a list of names that can be run one by one. xunit's
/// own runner is left out: it wants libraries that a bare machine lacks.
/// </summary>
internal static class KernelChecks
{
    // What xunit's assertions put before the reason of a skipped test.
    private const string SkipMark = "$XunitDynamicSkip$";

    /// <summary>Every test, a name each; a row of data is a name of its own.</summary>
    public static IReadOnlyList<(string Name, Action Run)> All { get; } = [.. Collect().OrderBy(x => x.Name, StringComparer.Ordinal)];

    private static IEnumerable<(string Name, Action Run)> Collect()
    {
        foreach (Type type in typeof(KernelChecks).Assembly.GetTypes())
            foreach (MethodInfo method in type.GetMethods())
            {
                if (method.GetCustomAttribute<TheoryAttribute>() is not null)
                {
                    int row = 0;
                    foreach (object?[] data in Rows(type, method)) yield return ($"{type.Name}.{method.Name}/{row++}", () => Invoke(type, method, data));
                }
                else if (method.GetCustomAttribute<FactAttribute>() is not null) yield return ($"{type.Name}.{method.Name}", () => Invoke(type, method, []));
            }
    }

    /// <summary>Runs one; a test that asks to be skipped throws <see cref="CheckSkipped"/>.</summary>
    private static void Invoke(Type type, MethodInfo method, object?[] data)
    {
        try
        {
            method.Invoke(Activator.CreateInstance(type), data);
        }
        catch (TargetInvocationException error) when (error.InnerException is not null)
        {
            string message = error.InnerException.Message;
            if (message.StartsWith(SkipMark, StringComparison.Ordinal)) throw new CheckSkipped(message[SkipMark.Length..]);
            throw new LedgerException($"{error.InnerException.GetType().Name}: {message}");
        }
    }

    private static IEnumerable<object?[]> Rows(Type type, MethodInfo method)
    {
        foreach (InlineDataAttribute inline in method.GetCustomAttributes<InlineDataAttribute>()) yield return inline.Data;
        foreach (MemberDataAttribute member in method.GetCustomAttributes<MemberDataAttribute>())
        {
            object? rows = type.GetProperty(member.MemberName)?.GetValue(null) ?? type.GetField(member.MemberName)?.GetValue(null)
                ?? throw new LedgerException($"{type.Name}.{method.Name}: there is no static member {member.MemberName} with data.");
            foreach (object row in (IEnumerable)rows) yield return row is ITheoryDataRow data ? data.GetData() : (object?[])row;
        }
    }
}

/// <summary>A check that cannot be made on this device.</summary>
internal sealed class CheckSkipped(string message) : BellmanException(message);
