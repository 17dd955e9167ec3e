%%% @doc What an environment is asked to be: options checked, lines of requirements read. Pure, but for the application's environment.
%%%
%%% A requirement is a line of PEP 508: a name, extras, versions or a URL, a marker. What pip's and uv's files of requirements can say besides
%%% (options, `-e', `-r', hashes, comments, variables, a line that goes on) is refused here, so that a line is never more than one requirement.
%%% @private
-module(py_env_spec).

-export([check/1, configured/0, setting/1, hash/2, digest/1, version/1, own_requirements/0, masked/1]).
-export_type([environment/0, version/0]).

-type version() :: any | {Minor :: non_neg_integer(), Patch :: any | non_neg_integer()}.
-type environment() :: #{
    python_version := binary(),
    requirements := [binary()],
    instructions := [binary()],
    allow_urls := boolean(),
    allow_builds := boolean(),
    offline := boolean(),
    timeout := timeout()
}.
%% As it is written down with a run: no atoms but these. `python_version' is empty where any will do.

-define(MOST_REQUIREMENTS, 1_000).
-define(MOST_LINE_BYTES, 1_000).
-define(TIMEOUT_MS, 1_800_000).
-define(OWN, [<<"erlang-py>=2.0.7">>, <<"cloudpickle>=3">>]).

%% PEP 508, of which strings in markers have no white space: behind one `pip' would look for options.
-define(NAME, "[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?").
-define(EXTRAS, "\\[ *(?:" ?NAME "(?: *, *" ?NAME ")*)? *\\]").
-define(VERSION, "(?:===|~=|==|!=|<=|>=|<|>) *[A-Za-z0-9._*+!-]+").
-define(VERSIONS, ?VERSION "(?: *, *" ?VERSION ")*").
-define(URL, "@ *(?:https?|file)://[!-~]+").
-define(STRING, "(?:'[A-Za-z0-9._*+!,:/()<>=~@-]*'|\"[A-Za-z0-9._*+!,:/()<>=~@-]*\")").
-define(VARIABLE, "[a-z_]++(?:\\.[a-z_]++)?").
-define(MARKER, "; *(?>(?:" ?STRING "|" ?VARIABLE "|===|~=|==|!=|<=|>=|<|>|[()]) *)++").

%% @doc The options of `py_env:build/1' as an environment; what is missing is as the application's `environments' says.
-spec check(term()) -> {ok, environment()} | {bad_option, py_options:problem()} | {error, {py, py_error:reason()}}.
check(Options) ->
    case py_options:check(Options, [table()]) of
        {ok, Checked} -> content(Checked);
        {error, Problem} -> {bad_option, Problem}
    end.

table() ->
    #{
        python_version => {undefined, fun is_text/1, "a version, such as <<\"3.11\">> or 'PYTHON3_11'"},
        requirements => {[], fun are_texts/1, "a list of requirements, each a binary or a string"},
        instructions => {[], fun are_texts/1, "a list of instructions, each a binary or a string"},
        allow_urls => [false, true],
        allow_builds => [false, true],
        offline => [false, true],
        timeout => {?TIMEOUT_MS, timeout}
    }.

is_text(Text) -> is_binary(Text) orelse is_atom(Text) orelse io_lib:printable_unicode_list(Text).

%% One list may be long, its lines are looked at one by one.
are_texts([First | _] = Texts) when length(Texts) >= 0 -> not is_integer(First);
are_texts(Texts) -> Texts =:= [].

content(Options) ->
    Allow = fun(Key) -> maps:get(Key, Options, setting(Key)) end,
    AllowsUrls = Allow(allow_urls),
    try
        Version = text(maps:get(python_version, Options, <<>>)),
        _ = version(Version),
        Requirements = lines(maps:get(requirements, Options, []), AllowsUrls),
        Instructions = [text(Each) || Each <- maps:get(instructions, Options, [])],
        {ok, #{
            python_version => Version,
            requirements => Requirements,
            instructions => Instructions,
            allow_urls => AllowsUrls,
            allow_builds => Allow(allow_builds),
            offline => Allow(offline),
            timeout => Allow(timeout)
        }}
    catch
        throw:{refused, Text} -> {error, {py, {env, lists:flatten(Text)}}}
    end.

lines(Lines, _AllowsUrls) when length(Lines) > ?MOST_REQUIREMENTS ->
    refused("there are ~w requirements, and ~w is the most", [length(Lines), ?MOST_REQUIREMENTS]);
lines(Lines, AllowsUrls) ->
    lists:usort([line(text(Line), AllowsUrls) || Line <- Lines]).

line(Line, AllowsUrls) ->
    case requirement(Line, AllowsUrls) of
        {ok, Requirement} -> Requirement;
        {error, Why} -> refused("~ts: ~ts", [shown(Line), Why])
    end.

%% Without white space around it.
requirement(Line, _AllowsUrls) when byte_size(Line) > ?MOST_LINE_BYTES ->
    {error, "a requirement has at most 1000 bytes"};
requirement(Line, AllowsUrls) ->
    Trimmed = string:trim(Line, both, " \t"),
    case {matches(Trimmed, "(?: *" ?EXTRAS ")? *(?:\\( *" ?VERSIONS " *\\)|" ?VERSIONS ")? *(?:" ?MARKER ")?"), matches(Trimmed, "(?: *" ?EXTRAS ")? *" ?URL "(?: +" ?MARKER ")?")} of
        {true, _} -> {ok, Trimmed};
        {false, true} when AllowsUrls -> url(Trimmed);
        {false, true} -> {error, "URLs are not allowed: allow_urls => true says that they are"};
        {false, false} -> {error, "it is no requirement as PEP 508 has them (a name, extras, versions, a marker), and nothing else may stand in its line"}
    end.

%% What stands for the value of a variable is pip's.
url(Line) ->
    case binary:match(Line, [<<"$">>, <<"\\">>, <<"#">>]) of
        nomatch -> {ok, Line};
        _ -> {error, "a URL without `#', `$' and `\\', please"}
    end.

matches(Line, Rest) -> re:run(Line, "\\A" ?NAME ++ Rest ++ "\\z", [{capture, none}, dollar_endonly]) =:= match.

%% @doc A version as it is asked for; fails with `{refused, Text}'.
-spec version(binary()) -> version().
version(<<>>) ->
    any;
version(Text) ->
    case re:run(Text, "\\A(?:PYTHON)?3[._]([0-9]{1,3})(?:[._]([0-9]{1,3}))?\\z", [{capture, all_but_first, list}]) of
        {match, [Minor]} -> {list_to_integer(Minor), any};
        {match, [Minor, Patch]} -> {list_to_integer(Minor), list_to_integer(Patch)};
        nomatch -> refused("~ts is no version of Python 3: write PYTHON3_11, or 3.11", [shown(Text)])
    end.

text(undefined) -> <<>>;
text(Text) when is_atom(Text) -> atom_to_binary(Text);
text(Text) when is_binary(Text) -> whole(Text, unicode:characters_to_binary(Text));
text(Text) ->
    Bytes = try unicode:characters_to_binary(Text) catch error:badarg -> error end,
    whole(Text, Bytes).

whole(_Text, Bytes) when is_binary(Bytes) -> Bytes;
whole(Text, _) -> refused("it is no text: ~tP", [Text, 10]).

-spec refused(io:format(), [term()]) -> no_return().
refused(Format, Args) -> throw({refused, io_lib:format(Format, Args)}).

shown(Text) -> io_lib:format("~0tp", [string:slice(masked(Text), 0, 80)]).

%% @doc What the application's own package needs, to be fetched where the node's own Python does not have it.
-spec own_requirements() -> [binary()].
own_requirements() -> ?OWN.

%% @doc A text without the credentials of its URLs.
-spec masked(binary()) -> binary().
masked(Text) -> iolist_to_binary(re:replace(Text, "(://)[^/@\\s]*@", "\\1***@", [global])).

%% @doc What a second request of the same is known by. `Default': the interpreter that is meant where no version is asked for.
-spec hash(environment(), Default :: term()) -> binary().
hash(#{python_version := Version} = Environment, Default) ->
    Asked = maps:with([requirements, instructions, allow_urls, allow_builds], Environment),
    Whose = case Version of <<>> -> Default; _ -> version(Version) end,
    Index = {setting(index), setting(extra_indexes), setting(find_links)},
    digest({1, Asked, Whose, Index, erlang:system_info(system_architecture)}).

%% @doc 32 digits that equal terms have alone.
-spec digest(term()) -> binary().
digest(Term) ->
    Bytes = term_to_binary(Term, [deterministic, {minor_version, 2}]),
    string:slice(string:lowercase(binary:encode_hex(crypto:hash(sha256, Bytes))), 0, 32).

%%% The application's environment

%% @doc What is wrong with `environments' of the application's environment.
-spec configured() -> ok | {error, {bad_config, py, py_options:problem()}}.
configured() ->
    case py_options:check(given(), [settings()]) of
        {ok, _} -> ok;
        {error, Problem} -> {error, {bad_config, environments, Problem}}
    end.

given() -> application:get_env(py, environments, #{}).

settings() ->
    #{
        allow_urls => [false, true],
        allow_builds => [false, true],
        offline => [false, true],
        timeout => {?TIMEOUT_MS, timeout},
        index => {undefined, fun is_line/1, "the URL of an index"},
        extra_indexes => {[], fun are_lines/1, "URLs of indexes"},
        find_links => {[], fun are_lines/1, "directories, or URLs of pages with links"},
        uv => {undefined, fun is_uv/1, "the path of uv, or none"},
        builds => {2, positive, "how many are built at a time"},
        pools => {8, fun is_pools/1, "how many environments have a pool at a time, 1 to 64"},
        idle => {60_000, natural, "milliseconds"},
        pool => {#{}, fun is_pool/1, "options of a pool, without python"}
    }.

is_line(Text) -> is_text(Text) andalso not is_atom(Text) andalso re:run(Text, "\\A[^-\\s]\\S*\\z", [unicode, {capture, none}]) =:= match.

are_lines(Texts) -> is_list(Texts) andalso lists:all(fun is_line/1, Texts).

is_uv(none) -> true;
is_uv(Path) -> is_text(Path) andalso not is_atom(Path).

is_pools(Count) -> py_options:is_positive(Count) andalso Count =< 64.

is_pool(Options) -> is_map(Options) andalso not is_map_key(python, Options) andalso element(1, py_pool_options:check(Options)) =:= ok.

%% @doc One of them, or what is meant where nothing is said.
-spec setting(atom()) -> term().
setting(Key) ->
    Settings = settings(),
    Given = case given() of #{} = Map -> Map; _ -> #{} end,
    case Given of
        #{Key := Value} -> Value;
        #{} ->
            case maps:get(Key, Settings) of
                [Default | _] -> Default;
                Entry -> element(1, Entry)
            end
    end.
