//! Where the output of a script's commands goes.

use super::*;

/// Whether the `§` of a script is printed.
fn prints(script: &str) -> bool {
    Script::new(script).prints(script.find('§').unwrap())
}

#[test]
fn what_reaches_the_log() {
    for script in [
        "echo §",
        "echo \"token: §\"",
        "set -e; echo §",
        "if true; then echo §; fi",
        "a && echo § || b",
        "echo § >&2",
        "echo § 1>&2",
        "echo '§' > /dev/stderr",
        "echo § 2>/dev/null",
        "echo § | base64",
        "echo § | rev | tee x",
        "echo § | sudo tee x",
        "cat <<EOF\n§\nEOF\n",
        "cat <<-'END' | sed s/a/b/\n\tx §\n\tEND\n",
        "{ echo §; }",
        "echo \"$(echo § | base64)\"",
        "# it's a comment\necho §",
        "print(\"§\")",
        "console.log('§')",
        "for i in 1 2; do\n  echo §\ndone",
        "echo a > b\necho §",
        "A=1 echo §",
        "echo \\\n  §\n",
    ] {
        assert!(prints(script), "{script}");
    }
}

#[test]
fn what_goes_elsewhere() {
    for script in [
        "login §",
        "echo § > file",
        "echo \"A=§\" >> \"$GITHUB_ENV\"",
        "echo § >> ${{ github.output }}",
        "echo § | docker login --password-stdin",
        "echo § | base64 > file",
        "echo § | sudo tee file > /dev/null",
        "echo § &> file",
        "cat <<EOF > file\n§\nEOF\n",
        "cat > file <<EOF\n§\nEOF\n",
        "cat <<EOF | kubectl apply -f -\n§\nEOF\n",
        "tool <<EOF\n§\nEOF\n",
        "{\n  echo a\n  echo §\n} >> .env\n",
        "( echo § ) > file",
        "if a; then\n  echo §\nfi > file",
        "while read x; do echo §; done | tool",
        "X=$(echo § | base64)",
        "echo \"$(curl -H §)\"",
        "echo \"::add-mask::§\"",
        "[ -z \"§\" ] && echo none",
        "echo \\\n  § \\\n  > file\n",
        "printf -v X '%s' §",
        "echo \"a\nb §\" > file",
        "sign --key=<(echo § | base64 -d) --out x",
        "echo a | tee >(echo § | tool)",
    ] {
        assert!(!prints(script), "{script}");
    }
}
